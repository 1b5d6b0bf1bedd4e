//! Ports of the host that lead into a container: `-p [[<address>:]<port>[-<port>]:]<port>[-<port>][/<protocol>]`, as
//! Apple's tool and docker write it. Of several ports of the host for one of the container a free one is chosen, as docker does.

use std::net::IpAddr;

use crate::container::{PortProtocol, PublishPort};

/// The most ports that are published with one flag, and of one container by all of them: Apple's.
pub const MAX_DESCRIPTORS: usize = 64;
/// The most ports of a container that are published, however many are in a range.
pub const MAX_PORTS: usize = 4096;
/// Where a port is opened unless an address is given.
const EVERYWHERE: &str = "0.0.0.0";

/// Why a text publishes no port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Too many parts, or an address without its brackets.
    #[error(
        "invalid publish value '{0}': [[<address>:]<host port>:]<container port>[/tcp|/udp] is expected, an IPv6 address in brackets"
    )]
    Form(String),
    /// What stands for the host's address.
    #[error("invalid address '{0}' to publish at: an IP address of this host is expected")]
    Address(String),
    /// Not a port, or 0 in the container.
    #[error("invalid port '{0}': 1 to 65535 is expected")]
    Port(String),
    /// The end before the beginning.
    #[error("invalid port range '{0}': it ends before it begins")]
    Range(String),
    /// Ranges of different lengths.
    #[error("the port ranges of '{0}' have different lengths")]
    Lengths(String),
    /// Not TCP and not UDP.
    #[error("invalid protocol '{0}': tcp or udp is expected")]
    Protocol(String),
}

/// Why ports cannot be published together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TogetherError {
    /// More than [`MAX_DESCRIPTORS`].
    #[error("cannot exceed more than {MAX_DESCRIPTORS} port publish descriptors")]
    TooMany,
    /// More than [`MAX_PORTS`].
    #[error("at most {MAX_PORTS} ports of a container can be published")]
    TooManyPorts,
    /// Two of them want one port.
    #[error("host ports for different publish port specs may not overlap: {0}")]
    Overlap(u16),
}

/// One flag's ports.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(text: &str) -> Result<PublishPort, PublishError> {
    let (ports, protocol) = match text.split_once('/') {
        Some((ports, protocol)) => (ports, protocol),
        None => (text, "tcp"),
    };
    let proto = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => PortProtocol::Tcp,
        "udp" => PortProtocol::Udp,
        _ => return Err(PublishError::Protocol(protocol.to_owned())),
    };
    let (address, ports) = split_address(text, ports)?;
    let (host, container) = match ports.split_once(':') {
        Some((host, container)) => (host, container),
        None => ("", ports),
    };
    let (container_port, count) = range(container)?;
    let (host_port, host_count) = match host {
        "" | "0" => (0, count),
        host => range(host)?,
    };
    let is_choice = count == 1 && host_count > 1;
    if host_count != count && !is_choice {
        return Err(PublishError::Lengths(text.to_owned()));
    }
    Ok(PublishPort {
        every_address: address.is_none(),
        host_address: address.map_or_else(|| EVERYWHERE.to_owned(), |address| address.to_string()),
        host_port,
        last_host_port: is_choice.then(|| host_port.saturating_add(host_count - 1)),
        container_port,
        proto,
        count,
    })
}

/// The address in front of `ports`, if there is one, and what is behind it.
fn split_address<'a>(
    text: &str,
    ports: &'a str,
) -> Result<(Option<IpAddr>, &'a str), PublishError> {
    let form = || PublishError::Form(text.to_owned());
    let wrong = |address: &str| PublishError::Address(address.to_owned());
    let (address, rest) = if let Some(rest) = ports.strip_prefix('[') {
        let (inside, rest) = rest.split_once(']').ok_or_else(form)?;
        let rest = rest.strip_prefix(':').ok_or_else(form)?;
        // A zone names one of the host's interfaces, which a rule of the kernel's would not follow.
        let address: std::net::Ipv6Addr = inside.parse().map_err(|_| wrong(inside))?;
        (Some(IpAddr::from(address)), rest)
    } else {
        match ports.matches(':').count() {
            0 | 1 => (None, ports),
            2 => {
                let (address, rest) = ports.split_once(':').ok_or_else(form)?;
                // Docker takes an empty one for none.
                let parsed = match address {
                    "" => None,
                    "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
                    address => Some(IpAddr::V4(address.parse().map_err(|_| wrong(address))?)),
                };
                (parsed, rest)
            }
            _ => return Err(form()),
        }
    };
    match address {
        Some(IpAddr::V4(address)) if address.is_multicast() || address.is_broadcast() => {
            Err(wrong(&address.to_string()))
        }
        // One of IPv4 in the form of IPv6 is no address of the host, and a link-local one needs a zone.
        Some(IpAddr::V6(address))
            if address.is_multicast()
                || address.is_unicast_link_local()
                || address.to_ipv4_mapped().is_some() =>
        {
            Err(wrong(&address.to_string()))
        }
        address => Ok((address, rest)),
    }
}

/// First port and length of `<port>[-<port>]`.
fn range(text: &str) -> Result<(u16, u16), PublishError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    let more = last
        .checked_sub(first)
        .ok_or_else(|| PublishError::Range(text.to_owned()))?;
    // There are 65535 ports, as 0 is none.
    Ok((first, more.saturating_add(1)))
}

fn port(text: &str) -> Result<u16, PublishError> {
    let number = text.parse().ok().filter(|port| *port != 0);
    number
        .filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
        .ok_or_else(|| PublishError::Port(text.to_owned()))
}

/// A port that an image exposes, or `--expose` names: `<port>[-<port>][/<protocol>]`, published at a free port.
///
/// # Errors
/// As [`parse`].
pub fn exposed(text: &str) -> Result<PublishPort, PublishError> {
    if text.contains(':') {
        return Err(PublishError::Form(text.to_owned()));
    }
    parse(text)
}

/// Checks what all flags of a container ask for.
///
/// # Errors
/// When they are too many, or want the same port of the host.
pub fn check(ports: &[PublishPort]) -> Result<(), TogetherError> {
    if ports.len() > MAX_DESCRIPTORS {
        return Err(TogetherError::TooMany);
    }
    let all: usize = ports.iter().map(|range| usize::from(range.count)).sum();
    if all > MAX_PORTS {
        return Err(TogetherError::TooManyPorts);
    }
    for (index, one) in ports.iter().enumerate() {
        for other in &ports[index + 1..] {
            if let Some(port) = overlap(one, other) {
                return Err(TogetherError::Overlap(port));
            }
        }
    }
    Ok(())
}

/// The first port of the host that both want at an address, where none of them is free to choose.
pub fn overlap(one: &PublishPort, other: &PublishPort) -> Option<u16> {
    if one.proto != other.proto || one.host_port == 0 || other.host_port == 0 {
        return None;
    }
    // Where there is a choice, what others want is avoided.
    if one.last_host_port.is_some() || other.last_host_port.is_some() {
        return None;
    }
    let last = |ports: &PublishPort| {
        ports
            .host_port
            .saturating_add(ports.count.saturating_sub(1))
    };
    let first = one.host_port.max(other.host_port);
    (first <= last(one).min(last(other)) && meet(one, other)).then_some(first)
}

/// Whether some connection could be for both.
fn meet(one: &PublishPort, other: &PublishPort) -> bool {
    if one.every_address || other.every_address || one.host_address == other.host_address {
        return true;
    }
    let parsed = |ports: &PublishPort| ports.host_address.parse::<IpAddr>().ok();
    match (parsed(one), parsed(other)) {
        (Some(one), Some(other)) => {
            one.is_ipv4() == other.is_ipv4() && (one.is_unspecified() || other.is_unspecified())
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As docker's `port` shows it.
    fn shown(text: &str) -> String {
        let port = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let everywhere = if port.every_address { "*" } else { "" };
        let last = port.last_host_port.map(|last| format!("-{last}"));
        format!(
            "{everywhere}{} {}{} -> {} x{}/{}",
            port.host_address,
            port.host_port,
            last.unwrap_or_default(),
            port.container_port,
            port.count,
            port.proto
        )
    }

    #[test]
    fn all_forms_are_understood() {
        for (text, expected) in [
            ("8080:80", "*0.0.0.0 8080 -> 80 x1/tcp"),
            ("8080:80/UDP", "*0.0.0.0 8080 -> 80 x1/udp"),
            ("127.0.0.1:8080:80", "127.0.0.1 8080 -> 80 x1/tcp"),
            ("localhost:8080:80", "127.0.0.1 8080 -> 80 x1/tcp"),
            ("127.0.0.1:1:1", "127.0.0.1 1 -> 1 x1/tcp"),
            ("65535:65535", "*0.0.0.0 65535 -> 65535 x1/tcp"),
            ("[::1]:8080:80/tcp", "::1 8080 -> 80 x1/tcp"),
            ("[::]:8080:80", ":: 8080 -> 80 x1/tcp"),
            ("8000-8003:80-83", "*0.0.0.0 8000 -> 80 x4/tcp"),
            ("1-65535:1-65535", "*0.0.0.0 1 -> 1 x65535/tcp"),
            ("9000-9002:80", "*0.0.0.0 9000-9002 -> 80 x1/tcp"),
            ("[::1]:9000-9001:80/udp", "::1 9000-9001 -> 80 x1/udp"),
            ("9000-9000:80", "*0.0.0.0 9000 -> 80 x1/tcp"),
            ("80", "*0.0.0.0 0 -> 80 x1/tcp"),
            ("80-81/udp", "*0.0.0.0 0 -> 80 x2/udp"),
            ("0:80", "*0.0.0.0 0 -> 80 x1/tcp"),
            (":80", "*0.0.0.0 0 -> 80 x1/tcp"),
            ("127.0.0.1::80", "127.0.0.1 0 -> 80 x1/tcp"),
            ("::80", "*0.0.0.0 0 -> 80 x1/tcp"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            ("", "invalid port ''"),
            ("a", "invalid port 'a'"),
            ("80:0", "invalid port '0'"),
            ("65536:80", "invalid port '65536'"),
            ("80:65536", "invalid port '65536'"),
            ("+80:80", "invalid port '+80'"),
            (" 80:80", "invalid port ' 80'"),
            ("80:", "invalid port ''"),
            ("90-80:80-90", "invalid port range '90-80'"),
            ("8000-8001:80-82", "the port ranges of '8000-8001:80-82'"),
            ("8000:80-82", "the port ranges of '8000:80-82'"),
            ("80:80/sctp", "invalid protocol 'sctp'"),
            ("80:80/", "invalid protocol ''"),
            ("::1:80:80", "invalid publish value '::1:80:80'"),
            ("[::1]80:80", "invalid publish value"),
            ("[::1", "invalid publish value"),
            ("[1.2.3.4]:80:80", "invalid address '1.2.3.4'"),
            ("1.2.3:80:80", "invalid address '1.2.3'"),
            ("224.0.0.1:80:80", "invalid address '224.0.0.1'"),
            (
                "[::ffff:127.0.0.1]:80:80",
                "invalid address '::ffff:127.0.0.1'",
            ),
            ("[fe80::1]:80:80", "invalid address 'fe80::1'"),
            ("1.2.3.4:1:2:3", "invalid publish value"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(words), "{text}: {error}");
        }
        assert!(exposed("80:80").is_err());
        assert_eq!(exposed("53/udp").unwrap().proto, PortProtocol::Udp);
    }

    #[test]
    fn what_meets_is_refused() {
        let checked = |texts: &[&str]| {
            let ports: Vec<_> = texts.iter().map(|text| parse(text).unwrap()).collect();
            check(&ports)
        };
        for texts in [
            ["80:80", "80:81"],
            ["80-90:80-90", "90:1"],
            ["127.0.0.1:80:80", "80:81"],
            ["0.0.0.0:80:80", "127.0.0.1:80:81"],
            ["[::1]:80:80", "80:81"],
        ] {
            assert!(
                matches!(checked(&texts), Err(TogetherError::Overlap(_))),
                "{texts:?}"
            );
        }
        for texts in [
            ["80:80", "80:80/udp"],
            ["127.0.0.1:80:80", "127.0.0.2:80:81"],
            ["0.0.0.0:80:80", "[::]:80:81"],
            ["80", "80"],
            ["80-89:80-89", "90:1"],
        ] {
            assert_eq!(checked(&texts), Ok(()), "{texts:?}");
        }
        let many: Vec<_> = (1..=65)
            .map(|port| parse(&format!("{port}:1")).unwrap())
            .collect();
        assert_eq!(check(&many), Err(TogetherError::TooMany));
        let range = |text: &str| check(&[parse(text).unwrap()]);
        assert_eq!(range("30000-34095:10000-14095"), Ok(()));
        assert_eq!(
            range("30000-34096:10000-14096"),
            Err(TogetherError::TooManyPorts)
        );
    }

    proptest! {
        #[test]
        fn no_range_leaves_the_ports_there_are(text in "[0-9]{0,5}(-[0-9]{0,5})?:?[0-9]{0,5}(-[0-9]{0,5})?") {
            if let Ok(ports) = parse(&text) {
                let last = u32::from(ports.container_port) + u32::from(ports.count) - 1;
                prop_assert!(ports.count > 0 && ports.container_port > 0 && last <= 65535);
                let last = u32::from(ports.host_port) + u32::from(ports.count) - 1;
                prop_assert!(last <= 65535);
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
