//! Egress rules for names lead to what the resolver answered.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::Message;
use hickory_proto::rr::RData;

use crate::directory::{Directory, Entry};
use crate::names::Asker;

/// Bounds of the time for which an address may be reached: programs use it a little longer than its answer holds.
pub const SHORTEST: u32 = 60;
/// The same, at the other end.
pub const LONGEST: u32 = 24 * 3600;
/// The most addresses of one answer.
pub const MAX_ADDRESSES: usize = 64;
/// The most that is remembered; beyond, the rules are written once more than needed.
const MAX_REMEMBERED: usize = 16 << 10;

/// What the rules hold already.
#[derive(Debug)]
pub struct Learned {
    rules: Asker,
    /// By tap, rule and address: until when it need not be written again.
    fresh: Mutex<HashMap<(String, usize, IpAddr), Instant>>,
}

impl Learned {
    /// Of rules that `rules` changes.
    pub fn new(rules: Asker) -> Self {
        Self {
            rules,
            fresh: Mutex::default(),
        }
    }

    /// Lets `client` reach the addresses of `reply`, which is about `name`, by the rules that cover it.
    ///
    /// # Errors
    /// When the rules can't be written.
    pub async fn take(
        &self,
        directory: &Directory,
        client: &Entry,
        name: &str,
        reply: &Message,
    ) -> io::Result<()> {
        let (addresses, ttl) = addresses(directory, reply);
        let seconds = ttl.clamp(SHORTEST, LONGEST);
        // Written again when half of its time is over.
        let until = Instant::now() + Duration::from_secs(u64::from(seconds / 2));
        let rules = client.rules().enumerate();
        for (index, _) in rules.filter(|(_, rule)| rule.destination.covers(name)) {
            let stale: Vec<IpAddr> = addresses
                .iter()
                .copied()
                .filter(|address| !self.is_fresh(&client.tap, index, *address))
                .collect();
            if stale.is_empty() {
                continue;
            }
            let learned = self.rules.learn(&client.tap, index, stale.clone(), seconds);
            learned.await?;
            let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            if fresh.len() + stale.len() > MAX_REMEMBERED {
                fresh.clear();
            }
            let keys = stale.into_iter();
            fresh.extend(keys.map(|address| ((client.tap.clone(), index, address), until)));
        }
        Ok(())
    }

    /// Forgets what was learned for taps that are not to be kept.
    pub fn keep(&self, is_kept: impl Fn(&str) -> bool) {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.retain(|(tap, ..), _| is_kept(tap));
    }

    fn is_fresh(&self, tap: &str, index: usize, address: IpAddr) -> bool {
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh
            .get(&(tap.to_owned(), index, address))
            .is_some_and(|until| Instant::now() < *until)
    }
}

/// The addresses of an answer that lead out, and how long they hold. Whoever answers for a name of the outside must not choose
/// what of the inside is reached: this network, this host, a machine's own, or what is behind the same router. Who means such an
/// address says so by a rule with the address.
fn addresses(directory: &Directory, reply: &Message) -> (Vec<IpAddr>, u32) {
    let mut ttl = LONGEST;
    let mut addresses = Vec::new();
    for record in &reply.answers {
        let address = match &record.data {
            RData::A(address) => IpAddr::from(address.0),
            RData::AAAA(address) => IpAddr::from(address.0),
            _ => continue,
        };
        ttl = ttl.min(record.ttl);
        if leads_out(address) && !directory.contains(address) && addresses.len() < MAX_ADDRESSES {
            addresses.push(address);
        }
    }
    (addresses, ttl)
}

/// Whether a name may stand for `address`.
pub fn leads_out(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => leads_out_by_ipv4(address),
        IpAddr::V6(address) => leads_out_by_ipv6(address),
    }
}

fn leads_out_by_ipv4(address: Ipv4Addr) -> bool {
    // Addresses of carriers' customers (RFC 6598), which private networks use, too.
    let shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
    // "This network" (RFC 791) and what is reserved (RFC 1112), the broadcast address included.
    let reserved = address.octets()[0] == 0 || address.octets()[0] >= 240;
    !(shared
        || reserved
        || address.is_private()
        || address.is_link_local()
        || address.is_loopback()
        || address.is_multicast())
}

fn leads_out_by_ipv6(address: Ipv6Addr) -> bool {
    // Addresses that stand for one of IPv4: by translation (RFC 6052, RFC 8215), and 6to4 (RFC 3056).
    let translated = matches!(address.segments(), [0x64, 0xff9b, ..] | [0x2002, ..]);
    // The form of IPv4 in IPv6 that RFC 4291 took back.
    let compatible = address.segments()[..6] == [0; 6];
    // RFC 3879.
    let site_local = address.segments()[0] & 0xffc0 == 0xfec0;
    !(translated
        || compatible
        || site_local
        || address.is_unique_local()
        || address.is_unicast_link_local()
        || address.is_multicast())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_outside_lead_out() {
        for address in ["198.51.100.7", "100.128.0.1", "172.32.0.1", "2001:db8::7"] {
            assert!(leads_out(address.parse().unwrap()), "{address}");
        }
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.254",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.168.1.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::a00:1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::a00:1",
            "2002:a00:1::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!leads_out(address.parse().unwrap()), "{address}");
        }
    }
}
