//! `/etc/hosts`: the names that a container knows without asking anybody.

use std::fmt::Write as _;
use std::net::IpAddr;

use container_resource::bundle::Interface;
use container_resource::container::HostEntry;
use container_resource::host_entry::HOST_GATEWAY;

const LOOPBACK: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// The file of a container called `hostname`. Its own name has lines of its own, where it comes first: that is the canonical one,
/// which `hostname -f` tells. It means the addresses of the first interface, and the container itself where there is none.
pub fn hosts(hostname: &str, interfaces: &[Interface], entries: &[HostEntry]) -> String {
    let mut text = LOOPBACK.to_owned();
    let short = hostname
        .split_once('.')
        .map_or(String::new(), |(short, _)| format!(" {short}"));
    let first = interfaces.first();
    let own: Vec<&str> = first
        .iter()
        .flat_map(|interface| [&interface.ipv4_address, &interface.ipv6_address])
        .flatten()
        .filter_map(|address| address.split('/').next())
        .collect();
    let own = if own.is_empty() {
        vec!["127.0.0.1"]
    } else {
        own
    };
    for address in own {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{address}\t{hostname}{short}");
    }
    // An internal network does not lead to the host.
    let mut leads_there = interfaces.iter().filter(|interface| !interface.is_internal);
    let host: Vec<IpAddr> = leads_there
        .next()
        .map(|interface| interface.host_addresses.clone())
        .unwrap_or_default();
    for HostEntry { hostname, address } in entries {
        if address == HOST_GATEWAY {
            for address in &host {
                let _ = writeln!(text, "{address}\t{hostname}");
            }
        } else {
            let _ = writeln!(text, "{address}\t{hostname}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(name: &str, interfaces: &[Interface], entries: &[HostEntry]) -> String {
        let text = hosts(name, interfaces, entries);
        text.strip_prefix(LOOPBACK).unwrap().to_owned()
    }

    #[test]
    fn the_canonical_name_is_the_whole_one() {
        assert_eq!(last("c1", &[], &[]), "127.0.0.1\tc1\n");
        assert_eq!(
            last("web.example", &[], &[]),
            "127.0.0.1\tweb.example web\n"
        );
    }

    #[test]
    fn a_name_means_the_first_interface_and_a_host_is_where_it_is_said_to_be() {
        let interface: Interface = serde_json::from_value(serde_json::json!({
            "network": "default", "hostname": "web", "deviceMac": "", "mac": "", "mtu": 1500,
            "ipv4Address": "192.168.64.3/24", "ipv6Address": "fd00::3/64",
            "hostAddresses": ["192.168.64.254"]
        }))
        .unwrap();
        let entry = |hostname: &str, address: &str| HostEntry {
            hostname: hostname.into(),
            address: address.into(),
        };
        let entries = [entry("db", "192.0.2.7"), entry("host", HOST_GATEWAY)];
        assert_eq!(
            last("web", std::slice::from_ref(&interface), &entries),
            "192.168.64.3\tweb\nfd00::3\tweb\n192.0.2.7\tdb\n192.168.64.254\thost\n"
        );
        // An internal network has no way to the host, and the next one may have.
        let inner = Interface {
            is_internal: true,
            host_addresses: vec!["192.168.65.254".parse().unwrap()],
            ..interface.clone()
        };
        let own = "192.168.64.3\tweb\nfd00::3\tweb\n";
        assert_eq!(
            last("web", std::slice::from_ref(&inner), &entries[1..]),
            own
        );
        let both = last("web", &[inner, interface], &entries[1..]);
        assert_eq!(both, format!("{own}192.168.64.254\thost\n"));
        assert_eq!(last("web", &[], &entries[1..]), "127.0.0.1\tweb\n");
    }
}
