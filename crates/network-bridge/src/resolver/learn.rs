//! Egress rules for names lead to what the resolver answered.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
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
    held: Mutex<Held>,
}

/// By tap, rule and address: until when the rules hold it.
#[derive(Debug, Default)]
struct Held(HashMap<(String, usize, IpAddr), Instant>);

impl Learned {
    /// Of rules that `rules` changes.
    pub fn new(rules: Asker) -> Self {
        Self {
            rules,
            held: Mutex::default(),
        }
    }

    /// Lets `client` reach the addresses of `reply`, which is about `name`, by the rules that cover it. Gives whether it can reach any of them, or there
    /// are none: a name may stand for addresses of the inside alone, which it opens nothing of.
    ///
    /// # Errors
    /// When the rules can't be written.
    pub async fn take(
        &self,
        directory: &Directory,
        client: &Entry,
        name: &str,
        reply: &Message,
    ) -> io::Result<bool> {
        let Answer {
            addresses,
            inside,
            ttl,
        } = Answer::of(directory, reply);
        let is_allowed =
            |address: &IpAddr| client.rules().any(|rule| rule.destination.has(*address));
        let opens = !addresses.is_empty() || inside.is_empty() || inside.iter().any(is_allowed);
        let seconds = ttl.clamp(SHORTEST, LONGEST);
        let now = Instant::now();
        let needed = now + Duration::from_secs(seconds.into());
        let rules = client.rules().enumerate();
        for (index, _) in rules.filter(|(_, rule)| rule.destination.covers(name)) {
            let stale = self.held().without(&client.tap, index, &addresses, needed);
            if stale.is_empty() {
                continue;
            }
            // For longer than this answer needs: the next one is often as good, and then nothing is written.
            let seconds = seconds + seconds / 2;
            let learned = self.rules.learn(&client.tap, index, stale.clone(), seconds);
            learned.await?;
            let until = now + Duration::from_secs(seconds.into());
            self.held().note(&client.tap, index, stale, until);
        }
        Ok(opens)
    }

    /// Forgets what was learned for taps that are not to be kept.
    pub fn keep(&self, is_kept: impl Fn(&str) -> bool) {
        self.held().0.retain(|(tap, ..), _| is_kept(tap));
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Those of `addresses` that the tap's rule does not hold until `needed`.
    fn without(
        &self,
        tap: &str,
        index: usize,
        addresses: &[IpAddr],
        needed: Instant,
    ) -> Vec<IpAddr> {
        let is_held = |address: IpAddr| {
            let until = self.0.get(&(tap.to_owned(), index, address));
            until.is_some_and(|until| needed <= *until)
        };
        let addresses = addresses.iter().copied();
        addresses.filter(|address| !is_held(*address)).collect()
    }

    fn note(&mut self, tap: &str, index: usize, addresses: Vec<IpAddr>, until: Instant) {
        if self.0.len() + addresses.len() > MAX_REMEMBERED {
            self.0.clear();
        }
        let keys = addresses.into_iter();
        self.0
            .extend(keys.map(|address| ((tap.to_owned(), index, address), until)));
    }
}

/// The addresses of an answer. Whoever answers for a name of the outside must not choose what of the inside is reached: this network, this
/// host, a machine's own, or what is behind the same router. Who means such an address says so by a rule with the address.
#[derive(Debug)]
struct Answer {
    /// Those that lead out.
    addresses: Vec<IpAddr>,
    /// The others.
    inside: Vec<IpAddr>,
    /// Seconds for which they hold.
    ttl: u32,
}

impl Answer {
    fn of(directory: &Directory, reply: &Message) -> Self {
        let mut answer = Self {
            addresses: Vec::new(),
            inside: Vec::new(),
            ttl: LONGEST,
        };
        for record in &reply.answers {
            let address = match &record.data {
                RData::A(address) => IpAddr::from(address.0),
                RData::AAAA(address) => IpAddr::from(address.0),
                _ => continue,
            };
            answer.ttl = answer.ttl.min(record.ttl);
            let kind = if leads_out(address) && !directory.contains(address) {
                &mut answer.addresses
            } else {
                &mut answer.inside
            };
            if kind.len() < MAX_ADDRESSES {
                kind.push(address);
            }
        }
        answer
    }
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

    /// A host's resolver tells the rest of a name's time, so the second answer is often good for longer than the first.
    #[test]
    fn an_answer_that_is_good_for_longer_is_held_for_longer() {
        let address: IpAddr = "198.51.100.7".parse().unwrap();
        let at = |seconds| Instant::now() + Duration::from_secs(seconds);
        let mut held = Held::default();
        assert_eq!(held.without("tap0", 0, &[address], at(60)), [address]);
        held.note("tap0", 0, vec![address], at(90));
        assert!(held.without("tap0", 0, &[address], at(60)).is_empty());
        for (tap, index) in [("tap1", 0), ("tap0", 1)] {
            assert_eq!(held.without(tap, index, &[address], at(60)), [address]);
        }
        assert_eq!(held.without("tap0", 0, &[address], at(3600)), [address]);
        held.note("tap0", 0, vec![address], at(5400));
        assert!(held.without("tap0", 0, &[address], at(3600)).is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut held = Held::default();
        for index in 0..2 * MAX_REMEMBERED {
            held.note(
                "tap0",
                index,
                vec![IpAddr::from([198, 51, 100, 7])],
                Instant::now(),
            );
        }
        assert!(held.0.len() <= MAX_REMEMBERED);
    }

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
