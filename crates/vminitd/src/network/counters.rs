//! What went through the interfaces.

use std::fs;

use container_api::types::InterfaceStatistics;

use super::{Numbers, interface, spelled};

/// The counters of all interfaces at a moment.
#[derive(Debug, Default)]
pub struct Counters(Vec<InterfaceStatistics>);

impl Counters {
    /// Reads those of the kernel; a kernel without a network has none.
    pub fn read() -> Self {
        Self::parse(&fs::read_to_string("/proc/net/dev").unwrap_or_default())
    }

    /// Understands `/proc/net/dev`, which has eight counters of what was received, then eight of what was sent. Of either, the first
    /// four are bytes, packets, errors, and what was dropped.
    fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let counters = lines.map(|(name, counters)| {
            let counters: Vec<u64> = counters
                .split_whitespace()
                .map(|number| number.parse().unwrap_or_default())
                .collect();
            let counter = |position: usize| counters.get(position).copied().unwrap_or_default();
            InterfaceStatistics {
                device_mac: String::new(),
                name: name.trim().to_owned(),
                rx_bytes: counter(0),
                rx_packets: counter(1),
                rx_errors: counter(2),
                rx_dropped: counter(3),
                tx_bytes: counter(8),
                tx_packets: counter(9),
                tx_errors: counter(10),
                tx_dropped: counter(11),
            }
        });
        Self(counters.collect())
    }

    /// Received and sent bytes of all interfaces but `lo`.
    pub fn bytes(&self) -> (u64, u64) {
        let outside = self.0.iter().filter(|counted| counted.name != "lo");
        outside.fold((0, 0), |(rx, tx), counted| {
            (rx + counted.rx_bytes, tx + counted.tx_bytes)
        })
    }

    /// Those of `interfaces`, whatever they are called by now.
    pub fn of(&self, interfaces: &Numbers) -> Vec<InterfaceStatistics> {
        let names = interfaces.iter().filter_map(|(device_mac, number)| {
            let name = interface::called(*number)?;
            Some((spelled(*device_mac), name))
        });
        names
            .filter_map(|(device_mac, name)| self.named(device_mac, &name))
            .collect()
    }

    fn named(&self, device_mac: String, name: &str) -> Option<InterfaceStatistics> {
        let counted = self.0.iter().find(|counted| counted.name == name)?;
        Some(InterfaceStatistics {
            device_mac,
            ..counted.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Inter-|   Receive                                                |  Transmit\n \
        face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n    \
        lo:    9999     1 0 0 0 0 0 0 9999 1 0 0 0 0 0 0\n  \
        eth0: 10 1 3 4 9 9 9 9 20 2 5 6 9 9 9 9\n  eth1:1 1 0 0 0 0 0 0 2 2 0 0 0 0 0 0\n";

    #[test]
    fn kernel_text_is_understood() {
        let counters = Counters::parse(TEXT);
        assert_eq!(counters.bytes(), (11, 22));
        let first = counters.named("f2:00:00:00:00:01".into(), "eth0").unwrap();
        let expected = InterfaceStatistics {
            device_mac: "f2:00:00:00:00:01".into(),
            name: "eth0".into(),
            rx_bytes: 10,
            rx_packets: 1,
            rx_errors: 3,
            rx_dropped: 4,
            tx_bytes: 20,
            tx_packets: 2,
            tx_errors: 5,
            tx_dropped: 6,
        };
        assert_eq!(first, expected);
        assert_eq!(counters.named(String::new(), "eth2"), None);
        assert_eq!(Counters::parse("").bytes(), (0, 0));
    }

    #[test]
    fn only_interfaces_that_were_set_up_are_told_of() {
        // Every kernel has `lo`, and it is the first.
        let numbers = Numbers::from([([2, 0, 0, 0, 0, 10], 1), ([2, 0, 0, 0, 0, 11], i32::MAX)]);
        let told = Counters::parse(TEXT).of(&numbers);
        assert_eq!(told.len(), 1);
        assert_eq!(
            (told[0].device_mac.as_str(), told[0].rx_bytes),
            ("02:00:00:00:00:0a", 9999)
        );
    }
}
