//! Registries that may be spoken to without encryption, as the configuration lists them.

use std::net::IpAddr;

use crate::reference;

/// Whether `entry` may stand in the list: a host name or an address, with or without a port, or a network.
pub fn is_entry(entry: &str) -> bool {
    network(entry).is_some() || (!entry.contains('/') && reference::is_domain(entry))
}

/// Whether one of `entries` means the registry `domain`. One without a port means every port of its host; a network
/// means the addresses in it, and no names.
pub fn lists<'e>(entries: impl IntoIterator<Item = &'e str>, domain: &str) -> bool {
    let host = host(domain);
    entries.into_iter().any(|entry| match network(entry) {
        Some((network, bits)) => host
            .parse()
            .is_ok_and(|address| first_bits(address, bits) == first_bits(network, bits)),
        None => entry == domain || entry == host || entry == bracketed(host),
    })
}

/// A registry's host without port and brackets.
pub fn host(domain: &str) -> &str {
    match domain
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((address, _)) => address,
        None => domain.split(':').next().unwrap_or(domain),
    }
}

fn bracketed(host: &str) -> String {
    format!("[{host}]")
}

fn network(entry: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = entry.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let bits = bits.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    (bits <= most).then_some((address, bits))
}

/// The first bits of an address, and its family.
fn first_bits(address: IpAddr, bits: u32) -> (bool, u128) {
    let (value, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let rest = width - bits.min(width);
    (address.is_ipv4(), value.checked_shr(rest).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_listed() {
        let entries = [
            "registry.example",
            "other.example:5000",
            "10.0.0.0/8",
            "[fd00::1]",
        ];
        for (domain, is_listed) in [
            ("registry.example", true),
            ("registry.example:8080", true),
            ("other.example:5000", true),
            ("other.example", false),
            ("other.example:5001", false),
            ("10.1.2.3:5000", true),
            ("11.0.0.1", false),
            ("[fd00::1]:5000", true),
            ("[fd00::2]:5000", false),
            ("not.registry.example", false),
        ] {
            assert_eq!(lists(entries, domain), is_listed, "{domain}");
        }
        assert!(lists(["0.0.0.0/0"], "1.2.3.4"));
        assert!(!lists(["0.0.0.0/0"], "[::1]"));
        assert!(lists(["::/0"], "[::1]:80"));
    }

    #[test]
    fn what_may_be_listed() {
        for (entry, may) in [
            ("registry", true),
            ("localhost:5000", true),
            ("10.0.0.0/8", true),
            ("fd00::/8", true),
            ("10.0.0.0/33", false),
            ("registry.example/path", false),
            ("https://registry.example", false),
            ("", false),
        ] {
            assert_eq!(is_entry(entry), may, "{entry}");
        }
    }
}
