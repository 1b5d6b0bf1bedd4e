//! `stats` and `top`: what a container uses, and its processes.

use std::collections::BTreeMap;

use container_api::network::Counters;
use container_api::types::InterfaceStatistics;
use container_api::{Error, Kind, runtime, types};
use container_resource::bundle::Interface;
use container_resource::container::{ContainerStatistics, NetworkStatistics};

use super::Containers;
use super::running_networks::read_boot;

/// The longest name of an interface, in bytes (`IFNAMSIZ` of linux/if.h, with its zero).
const MAX_INTERFACE_NAME: usize = 15;

impl Containers {
    /// What the container `id` uses.
    pub async fn statistics(&self, id: &str) -> Result<ContainerStatistics, Error> {
        let entry = self.get(id)?;
        let sample = entry
            .ask(|mut client| async move { client.statistics(runtime::StatisticsRequest {}).await })
            .await?;
        let mut guest = sample.guest.ok_or_else(|| {
            Error::new(Kind::Internal, "the runtime helper has left the guest out")
        })?;
        let interfaces = read_boot(&entry)?.interfaces;
        // Who publishes ports does so on the first network.
        let configuration = entry.configuration()?;
        if let Some(first) = configuration.networks.first()
            && !configuration.published_ports.is_empty()
            && let Some(interface) = interfaces.iter().find(|one| one.network == first.network)
        {
            let counted = counted(&guest, &interface.device_mac);
            let left = self.networks.without_asked(id, &first.network, counted);
            leave(left.await, &interface.device_mac, &mut guest);
        }
        let networks = networks(&interfaces, &guest.interfaces);
        Ok(ContainerStatistics {
            id: id.to_owned(),
            memory_usage_bytes: Some(guest.memory_usage_bytes),
            memory_current_bytes: Some(guest.memory_current_bytes),
            memory_limit_bytes: Some(guest.memory_limit_bytes),
            cpu_usage_usec: Some(guest.cpu_usage_usec),
            network_rx_bytes: Some(guest.network_rx_bytes),
            network_tx_bytes: Some(guest.network_tx_bytes),
            networks,
            block_read_bytes: Some(guest.block_read_bytes),
            block_write_bytes: Some(guest.block_write_bytes),
            num_processes: Some(guest.processes),
            host_memory_bytes: Some(sample.host_memory_bytes),
            cpu_pressure_usec: Some(guest.cpu_pressure_usec),
            memory_pressure_usec: Some(guest.memory_pressure_usec),
            io_pressure_usec: Some(guest.io_pressure_usec),
        })
    }

    /// The processes of the container `id`.
    pub async fn processes(&self, id: &str) -> Result<types::Processes, Error> {
        let entry = self.get(id)?;
        entry
            .ask(|mut client| async move { client.processes(runtime::ProcessesRequest {}).await })
            .await
    }
}

/// What a guest counted by the device with this address.
fn counted(guest: &types::Statistics, device_mac: &str) -> Counters {
    let is_it = |one: &&InterfaceStatistics| one.device_mac.eq_ignore_ascii_case(device_mac);
    let counted = guest.interfaces.iter().find(is_it);
    counted.map_or_else(Counters::default, |counted| Counters {
        rx_bytes: counted.rx_bytes,
        rx_packets: counted.rx_packets,
        tx_bytes: counted.tx_bytes,
        tx_packets: counted.tx_packets,
    })
}

/// Has what a guest counted by the device with this address, and by all, be what is `left` of it.
fn leave(left: Counters, device_mac: &str, guest: &mut types::Statistics) {
    let is_it = |one: &&mut InterfaceStatistics| one.device_mac.eq_ignore_ascii_case(device_mac);
    let Some(counted) = guest.interfaces.iter_mut().find(is_it) else {
        return;
    };
    let less = |all: u64, counted: u64, left: u64| all.saturating_sub(counted.saturating_sub(left));
    guest.network_rx_bytes = less(guest.network_rx_bytes, counted.rx_bytes, left.rx_bytes);
    guest.network_tx_bytes = less(guest.network_tx_bytes, counted.tx_bytes, left.tx_bytes);
    counted.rx_bytes = left.rx_bytes;
    counted.rx_packets = left.rx_packets;
    counted.tx_bytes = left.tx_bytes;
    counted.tx_packets = left.tx_packets;
}

/// What the guest counted, by the networks of `interfaces`, which are the container's: what it tells of others is nothing to us.
fn networks(
    interfaces: &[Interface],
    counted: &[InterfaceStatistics],
) -> BTreeMap<String, NetworkStatistics> {
    let of = |interface: &Interface| {
        let is_it = |counted: &&InterfaceStatistics| {
            counted
                .device_mac
                .eq_ignore_ascii_case(&interface.device_mac)
                && counted.name.len() <= MAX_INTERFACE_NAME
        };
        let counted = counted.iter().find(is_it)?;
        let statistics = NetworkStatistics {
            interface: counted.name.clone(),
            rx_bytes: counted.rx_bytes,
            rx_packets: counted.rx_packets,
            rx_errors: counted.rx_errors,
            rx_dropped: counted.rx_dropped,
            tx_bytes: counted.tx_bytes,
            tx_packets: counted.tx_packets,
            tx_errors: counted.tx_errors,
            tx_dropped: counted.tx_dropped,
        };
        Some((interface.network.clone(), statistics))
    };
    interfaces.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_was_asked_is_left_out() {
        let interface = |device_mac: &str| InterfaceStatistics {
            device_mac: device_mac.into(),
            rx_bytes: 100,
            rx_packets: 10,
            tx_bytes: 50,
            tx_packets: 5,
            ..InterfaceStatistics::default()
        };
        let mut guest = types::Statistics {
            network_rx_bytes: 200,
            network_tx_bytes: 100,
            interfaces: vec![
                interface("02:00:00:00:00:01"),
                interface("02:00:00:00:00:0A"),
            ],
            ..types::Statistics::default()
        };
        let (a, b) = ("02:00:00:00:00:01", "02:00:00:00:00:0a");
        let left = Counters {
            rx_bytes: 70,
            rx_packets: 7,
            tx_bytes: 30,
            tx_packets: 3,
        };
        leave(left, b, &mut guest);
        assert_eq!((guest.network_rx_bytes, guest.network_tx_bytes), (170, 80));
        assert_eq!(guest.interfaces[0], interface(a));
        assert_eq!(counted(&guest, b), left);
        leave(left, "02:00:00:00:00:0f", &mut guest);
        assert_eq!((guest.network_rx_bytes, guest.network_tx_bytes), (170, 80));
    }

    #[test]
    fn what_a_guest_counts_is_told_by_its_networks() {
        let interface = |network: &str, device_mac: &str| Interface {
            network: network.into(),
            hostname: "web".into(),
            device_mac: device_mac.into(),
            is_saved: false,
            mac: "f2:00:00:00:00:01".into(),
            mtu: 1500,
            ipv4_address: None,
            ipv4_gateway: None,
            ipv6_address: None,
            ipv6_gateway: None,
            default_route: false,
            resolvers: Vec::new(),
            is_internal: false,
            host_addresses: Vec::new(),
        };
        let counted = |device_mac: &str, name: &str, rx_bytes, tx_dropped| InterfaceStatistics {
            device_mac: device_mac.into(),
            name: name.into(),
            rx_bytes,
            tx_dropped,
            ..InterfaceStatistics::default()
        };
        let (a, b, c) = (
            "f2:00:00:00:00:0a",
            "02:00:00:00:01:01",
            "02:00:00:00:01:02",
        );
        let interfaces = [
            interface("default", "F2:00:00:00:00:0A"),
            interface("b", b),
            interface("c", c),
        ];
        let long = "x".repeat(MAX_INTERFACE_NAME + 1);
        let found = networks(
            &interfaces,
            &[
                counted(b, "eth1", 2, 0),
                counted(a, "eth0", 1, 3),
                // A second time, too long, of no network.
                counted(b, "eth7", 9, 9),
                counted(c, &long, 9, 9),
                counted("02:00:00:00:01:03", "eth3", 9, 9),
            ],
        );
        let expected = |interface: &str, rx_bytes, tx_dropped| NetworkStatistics {
            interface: interface.into(),
            rx_bytes,
            tx_dropped,
            ..NetworkStatistics::default()
        };
        let expected = BTreeMap::from([
            ("b".to_owned(), expected("eth1", 2, 0)),
            ("default".to_owned(), expected("eth0", 1, 3)),
        ]);
        assert_eq!(found, expected);
    }
}
