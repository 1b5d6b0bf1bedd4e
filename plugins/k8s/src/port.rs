//! The port of the host at which a cluster's API is found.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;

/// Those that are tried, in this order: the first one is Apple's.
const PORTS: RangeInclusive<u16> = 6445..=6545;

/// The first one that is free, at 127.0.0.1, and that no cluster of `taken` has: one that is stopped wants its port back.
pub fn free(taken: &[u16]) -> Option<u16> {
    first(PORTS, taken, |port| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
    })
}

fn first(
    mut ports: RangeInclusive<u16>,
    taken: &[u16],
    is_free: impl Fn(u16) -> bool,
) -> Option<u16> {
    ports.find(|port| !taken.contains(port) && is_free(*port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_nobody_has() {
        assert_eq!(first(1..=5, &[1], |port| port > 2), Some(3));
        assert_eq!(first(1..=5, &[1, 2, 3, 4, 5], |_| true), None);
        assert_eq!(first(1..=5, &[], |_| false), None);
    }
}
