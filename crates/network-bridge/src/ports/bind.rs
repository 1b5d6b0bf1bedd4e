//! Holding the host's ports.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use super::owner::{self, Owner};
use super::published::{Protocol, Published, Wanted};

/// Connections that wait to be taken.
const BACKLOG: i32 = 1024;
/// How often another free port is tried, where it has to be free in both families.
const TRIES: usize = 16;

/// A port of the host that nobody else can have.
#[derive(Debug)]
pub struct Bound {
    /// What was asked for, with the port that was found.
    pub port: Published,
    /// One for each address; TCP ones listen.
    pub sockets: Vec<(SocketAddr, OwnedFd)>,
}

/// Why a port can't be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody has it.
    #[error("port {port} of the host is taken{}", taken_by(owner.as_ref()))]
    Taken {
        /// With its address, if one was given, and the protocol.
        port: String,
        /// The process that has it, where that can be seen.
        owner: Option<Owner>,
        /// What it has, or is in the way of.
        at: SocketAddr,
    },
    /// Each of them.
    #[error("all ports from {first} to {last} of the host are taken")]
    AllTaken {
        /// With its address, if one was given, and the protocol.
        first: String,
        /// The last port.
        last: u16,
    },
    /// It is for root.
    #[error("port {0} of the host needs more rights: ports below {1} are root's")]
    Privileged(String, u16),
    /// The address is not the host's.
    #[error("{0} is no address of this host, so port {1} cannot be published there")]
    Address(IpAddr, String),
    /// Anything else.
    #[error("cannot open port {0} of the host")]
    Other(String, #[source] io::Error),
}

fn taken_by(owner: Option<&Owner>) -> String {
    owner.map_or_else(String::new, |owner| format!(" by {owner}"))
}

/// Takes the first of the ports that are wanted which is free.
pub fn choose(wanted: &Wanted) -> Result<Bound, BindError> {
    let Wanted { port, last } = wanted;
    if *last <= port.host_port {
        return bind(port);
    }
    for host_port in port.host_port..=*last {
        match bind(&Published { host_port, ..*port }) {
            Err(BindError::Taken { .. }) => {}
            done => return done,
        }
    }
    Err(BindError::AllTaken {
        first: spelled(port),
        last: *last,
    })
}

/// Takes `port`, at all its addresses.
pub fn bind(port: &Published) -> Result<Bound, BindError> {
    let addresses = match port.host_address {
        Some(address) => vec![address],
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    };
    let mut last = None;
    for _ in 0..TRIES {
        match bind_all(port, &addresses) {
            // A port that the kernel found free in one family may be taken in the other.
            Err(error @ BindError::Taken { .. }) if port.host_port == 0 => last = Some(error),
            done => return done,
        }
    }
    Err(last.unwrap_or_else(|| BindError::Other("0".to_owned(), io::ErrorKind::AddrInUse.into())))
}

fn bind_all(port: &Published, addresses: &[IpAddr]) -> Result<Bound, BindError> {
    let mut bound = Bound {
        port: *port,
        sockets: Vec::new(),
    };
    for address in addresses {
        let wanted = SocketAddr::new(*address, bound.port.host_port);
        match open(wanted, port.protocol) {
            Ok((found, socket)) => {
                bound.port.host_port = found.port();
                bound.sockets.push((found, socket));
            }
            // A host without IPv6.
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
                if port.host_address.is_none() && address.is_ipv6() => {}
            Err(errno) => return Err(explain(&bound.port, *address, errno)),
        }
    }
    Ok(bound)
}

fn open(wanted: SocketAddr, protocol: Protocol) -> rustix::io::Result<(SocketAddr, OwnedFd)> {
    let family = if wanted.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, Some(number))?;
    if wanted.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // Connections of a process before this one may still be closing; who listens can't be listened beside.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &wanted)?;
    let found = rustix::net::getsockname(&socket)?;
    let found = SocketAddr::try_from(found).unwrap_or(wanted);
    if wanted.port() == 0 {
        // A socket that was given its port loses it when it is shut; one that asked for it does not. Until one of the two listens
        // both may have it.
        return match protocol {
            Protocol::Tcp => open(found, protocol),
            Protocol::Udp => Ok((found, socket)),
        };
    }
    if protocol == Protocol::Tcp {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok((found, socket))
}

fn explain(port: &Published, address: IpAddr, errno: Errno) -> BindError {
    let text = spelled(port);
    match errno {
        Errno::ADDRINUSE => {
            let at = SocketAddr::new(address, port.host_port);
            BindError::Taken {
                port: text,
                owner: owner::find(port.protocol, at),
                at,
            }
        }
        Errno::ACCESS | Errno::PERM => BindError::Privileged(text, first_free_port()),
        Errno::ADDRNOTAVAIL => match port.host_address {
            Some(address) => BindError::Address(address, text),
            None => BindError::Other(text, errno.into()),
        },
        _ => BindError::Other(text, errno.into()),
    }
}

/// As people write it: `8080/tcp`, `127.0.0.1:8080/tcp`.
pub fn spelled(port: &Published) -> String {
    let protocol = port.protocol.name();
    match port.host_address {
        Some(address) => format!("{}/{protocol}", SocketAddr::new(address, port.host_port)),
        None => format!("{}/{protocol}", port.host_port),
    }
}

/// The first port that everybody may have (ip(7), `ip_unprivileged_port_start`).
fn first_free_port() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_address: &str, host_port: u16, protocol: Protocol) -> Published {
        Published {
            host_address: host_address.parse().ok(),
            host_port,
            container_port: 80,
            protocol,
        }
    }

    #[test]
    fn a_free_port_is_found_and_held_in_both_families() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let bound = bind(&port("", 0, protocol)).unwrap();
            let found = bound.port.host_port;
            assert_ne!(found, 0);
            for taken in ["", "127.0.0.1", "0.0.0.0", "::1"] {
                let error = bind(&port(taken, found, protocol)).unwrap_err().to_string();
                assert!(
                    error.contains(&format!("{found}/{}", protocol.name())),
                    "{error}"
                );
                // It is this process's own; its name is that of the test.
                assert!(
                    error.contains(&format!("(process {})", std::process::id())),
                    "{error}"
                );
            }
            drop(bound);
            bind(&port("", found, protocol)).unwrap();
        }
    }

    #[test]
    fn the_first_of_several_that_is_free_is_chosen() {
        // Three free ones in a row are looked for.
        let three = || {
            let first = bind(&port("127.0.0.1", 0, Protocol::Tcp)).ok()?.port;
            let next = |offset| {
                let host_port = first.host_port.checked_add(offset)?;
                bind(&Published { host_port, ..first }).ok()
            };
            let (one, two, three) = (next(0)?, next(1)?, next(2)?);
            drop((one, two, three));
            Some(first)
        };
        let first = (0..50).find_map(|_| three()).unwrap();
        let wanted = Wanted {
            port: first,
            last: first.host_port + 1,
        };
        let (one, two) = (choose(&wanted).unwrap(), choose(&wanted).unwrap());
        let found = [one.port.host_port, two.port.host_port];
        assert_eq!(found, [first.host_port, first.host_port + 1]);
        let error = choose(&wanted).unwrap_err();
        assert!(matches!(error, BindError::AllTaken { .. }), "{error}");
        drop(one);
        assert_eq!(choose(&wanted).unwrap().port, first);
    }

    #[test]
    fn an_address_of_somebody_else_is_named() {
        let error = bind(&port("192.0.2.77", 0, Protocol::Tcp)).unwrap_err();
        assert!(matches!(error, BindError::Address(..)), "{error}");
    }
}
