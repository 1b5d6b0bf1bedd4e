//! Published ports, as they are stored and as networks take them: ranges and single ports.

use container_api::network::{Port, Protocol};
use container_resource::container::{PortProtocol, PublishPort};

/// Each port of `published`, one by one.
pub fn single(published: &[PublishPort]) -> Vec<Port> {
    published.iter().flat_map(each).collect()
}

fn each(published: &PublishPort) -> impl Iterator<Item = Port> + '_ {
    let chosen = published.host_port == 0;
    (0..published.count).map(move |offset| Port {
        host_address: if published.every_address {
            String::new()
        } else {
            published.host_address.clone()
        },
        host_port: if chosen {
            0
        } else {
            u32::from(published.host_port) + u32::from(offset)
        },
        last_host_port: published.last_host_port.map_or(0, u32::from),
        container_port: u32::from(published.container_port) + u32::from(offset),
        protocol: match published.proto {
            PortProtocol::Tcp => Protocol::Tcp,
            PortProtocol::Udp => Protocol::Udp,
        }
        .into(),
    })
}

/// The ranges that `ports` make up.
pub fn ranges(ports: &[Port]) -> Vec<PublishPort> {
    let mut ranges: Vec<PublishPort> = Vec::new();
    for port in ports {
        let number = |number: u32| u16::try_from(number).unwrap_or_default();
        let every_address = port.host_address.is_empty();
        let next = PublishPort {
            host_address: if every_address {
                "0.0.0.0".to_owned()
            } else {
                port.host_address.clone()
            },
            every_address,
            host_port: number(port.host_port),
            last_host_port: None,
            container_port: number(port.container_port),
            proto: match port.protocol() {
                Protocol::Tcp => PortProtocol::Tcp,
                Protocol::Udp => PortProtocol::Udp,
            },
            count: 1,
        };
        match ranges.last_mut() {
            Some(last) if follows(last, &next) => last.count += 1,
            _ => ranges.push(next),
        }
    }
    ranges
}

fn follows(last: &PublishPort, next: &PublishPort) -> bool {
    last.host_address == next.host_address
        && last.every_address == next.every_address
        && last.proto == next.proto
        && last.host_port.checked_add(last.count) == Some(next.host_port)
        && last.container_port.checked_add(last.count) == Some(next.container_port)
}

#[cfg(test)]
mod tests {
    use container_resource::publish;

    use super::*;

    #[test]
    fn ranges_come_back_as_they_went() {
        let published: Vec<PublishPort> = ["8000-8003:80-83", "127.0.0.1:53:53/udp", "[::1]:9:9"]
            .iter()
            .map(|text| publish::parse(text).unwrap())
            .collect();
        let ports = single(&published);
        assert_eq!(ports.len(), 6);
        assert_eq!(ports[0].host_address, "");
        assert_eq!(ranges(&ports), published);
    }

    #[test]
    fn a_choice_of_the_host_s_ports_is_passed_on() {
        let ports = single(&[publish::parse("9000-9002:80").unwrap()]);
        assert_eq!(ports.len(), 1);
        assert_eq!((ports[0].host_port, ports[0].last_host_port), (9000, 9002));
    }

    #[test]
    fn chosen_ports_need_not_be_in_a_row() {
        let mut ports = single(&[publish::parse("80-82").unwrap()]);
        assert!(ports.iter().all(|port| port.host_port == 0));
        for (port, chosen) in ports.iter_mut().zip([40_000, 40_001, 40_007]) {
            port.host_port = chosen;
        }
        let ranges = ranges(&ports);
        assert_eq!(
            (ranges.len(), ranges[0].count, ranges[1].container_port),
            (2, 2, 82)
        );
    }
}
