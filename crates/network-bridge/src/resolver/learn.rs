//! Egress rules for names lead to what the resolver answered.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::Message;
use hickory_proto::rr::RData;

use crate::directory::{Directory, Entry};
use crate::filter::packets;
use crate::namespace::inside::{Inside, Request};

/// Bounds of the time for which an address may be reached: programs use it a little longer than its answer holds.
const SHORTEST: u32 = 60;
const LONGEST: u32 = 24 * 3600;
/// The most addresses of one answer.
const MAX_ADDRESSES: usize = 64;
/// The most that is remembered; beyond, the rules are written once more than needed.
const MAX_REMEMBERED: usize = 16 << 10;

/// What the rules hold already.
#[derive(Debug)]
pub struct Learned {
    inside: Arc<Inside>,
    /// By tap, rule and address: until when it need not be written again.
    fresh: Mutex<HashMap<(String, usize, IpAddr), Instant>>,
}

impl Learned {
    /// Of rules that `inside` writes.
    pub fn new(inside: Arc<Inside>) -> Self {
        Self {
            inside,
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
        let mut script = String::new();
        let mut written = Vec::new();
        let rules = client.egress.iter().flatten().enumerate();
        for (index, _) in rules.filter(|(_, rule)| rule.destination.covers(name)) {
            let stale: Vec<IpAddr> = addresses
                .iter()
                .copied()
                .filter(|address| !self.is_fresh(&client.tap, index, *address))
                .collect();
            script.push_str(&packets::learn(&client.tap, index, &stale, seconds));
            written.extend(
                stale
                    .into_iter()
                    .map(|address| (client.tap.clone(), index, address)),
            );
        }
        if script.is_empty() {
            return Ok(());
        }
        self.inside.run(Request::Rules(script)).await?;
        // Written again when half of its time is over.
        let until = Instant::now() + Duration::from_secs(u64::from(seconds / 2));
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        if fresh.len() + written.len() > MAX_REMEMBERED {
            fresh.clear();
        }
        fresh.extend(written.into_iter().map(|key| (key, until)));
        Ok(())
    }

    /// Forgets what was learned for a tap, whose rules are gone.
    pub fn forget(&self, tap: &str) {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.retain(|(known, ..), _| known != tap);
    }

    fn is_fresh(&self, tap: &str, index: usize, address: IpAddr) -> bool {
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh
            .get(&(tap.to_owned(), index, address))
            .is_some_and(|until| Instant::now() < *until)
    }
}

/// The addresses of an answer that lead out, and how long they hold. A name of the outside can't stand for what is here: the
/// network itself, this host, or a machine's own.
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

fn leads_out(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(local || address.is_loopback() || address.is_unspecified() || address.is_multicast())
}
