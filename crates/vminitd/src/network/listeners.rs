//! Ports at which programs of the container listen.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use container_api::guest::{Listener, ListenersReply};
use futures::{Stream, stream};
use rustix::net::{AddressFamily, SocketType, sockopt};
use tonic::Status;

/// How often it is looked: the kernel tells nobody that a socket begins to listen.
const PERIOD: Duration = Duration::from_millis(250);
/// The kernel's tables, and whether they are of UDP.
const TABLES: [(&str, bool); 4] = [
    ("/proc/net/tcp", false),
    ("/proc/net/tcp6", false),
    ("/proc/net/udp", true),
    ("/proc/net/udp6", true),
];
/// The first and the last port that the kernel gives to sockets that ask for none.
const CLIENTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// Those that it gives unless somebody has changed it.
const CLIENTS_AT_FIRST: RangeInclusive<u16> = 32768..=60999;
/// The most bytes that are read of a table, with some 150 for each socket.
const LIMIT: u64 = 256 << 10;
/// The most that are told of.
const MOST: usize = 1024;
/// State of a socket that listens (`TCP_LISTEN` of `linux/tcp_states.h`). The table has these first.
const LISTEN: &str = "0A";
/// State of a UDP socket that is connected to nobody (`TCP_CLOSE`).
const UNCONNECTED: &str = "07";

/// An address of the loopback at which no program listens by itself.
const UNUSED: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 254);

/// A port at which a program listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Listening {
    /// UDP. These come last where there are more than [`MOST`].
    datagrams: bool,
    /// Every one, or one of the loopback.
    address: IpAddr,
    port: u16,
    /// At every address of IPv6, and none of IPv4; not looked at yet in what a table says.
    ipv6_only: bool,
}

impl Listening {
    /// A socket of IPv6 that may serve IPv4 as well.
    fn may_be_both(self) -> bool {
        self.address == Ipv6Addr::UNSPECIFIED
    }
}

/// What listens now, and whenever that is something else.
pub fn watch() -> impl Stream<Item = Result<ListenersReply, Status>> + Send {
    stream::unfold(None, |told| async move {
        loop {
            let found = find(told.as_ref());
            if told.as_ref() != Some(&found) {
                let reply = reply(&found);
                return Some((Ok(reply), Some(found)));
            }
            tokio::time::sleep(PERIOD).await;
        }
    })
}

fn reply(found: &BTreeSet<Listening>) -> ListenersReply {
    let listeners = found.iter().take(MOST).map(|listening| Listener {
        port: listening.port.into(),
        ipv6: listening.address.is_ipv6(),
        loopback: listening.address.is_loopback(),
        ipv6_only: listening.ipv6_only,
        datagrams: listening.datagrams,
        other: match listening.address {
            IpAddr::V4(address) if address.is_loopback() && address != Ipv4Addr::LOCALHOST => {
                address.into()
            }
            _ => 0,
        },
    });
    ListenersReply {
        listeners: listeners.collect(),
    }
}

/// What listens now; `before` is what did.
fn find(before: Option<&BTreeSet<Listening>>) -> BTreeSet<Listening> {
    let mut found = BTreeSet::new();
    let clients = clients();
    for (table, datagrams) in TABLES {
        let mut text = String::new();
        // A kernel without IPv6 has one of them.
        let read =
            std::fs::File::open(table).and_then(|file| file.take(LIMIT).read_to_string(&mut text));
        if read.is_ok() {
            if datagrams {
                let all = serving(&text);
                found.extend(all.filter(|socket| !clients.contains(&socket.port)));
            } else {
                found.extend(listening(&text));
            }
        }
    }
    let known = |one: &Listening| {
        let before = before.into_iter().flatten();
        let mut same = before.filter(|other| {
            other.may_be_both() && (other.port, other.datagrams) == (one.port, one.datagrams)
        });
        same.next().map(|other| other.ipv6_only)
    };
    let whole = found.into_iter().map(|one| Listening {
        // Looked at once: meanwhile another program might want the port.
        ipv6_only: one.may_be_both() && known(&one).unwrap_or_else(|| leaves_ipv4(&one)),
        ..one
    });
    whole.collect()
}

/// Ports that clients have: a UDP socket says of itself neither that it serves nor that it was given its port.
fn clients() -> RangeInclusive<u16> {
    let range = std::fs::read_to_string(CLIENTS).ok();
    range
        .as_deref()
        .and_then(parse_range)
        .unwrap_or(CLIENTS_AT_FIRST)
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.trim().split_once(char::is_whitespace)?;
    Some(first.parse().ok()?..=last.trim().parse().ok()?)
}

/// Whether nothing is at the port of every IPv4 address, which is to be seen in no table where a socket of IPv6 may be: an address that
/// nobody uses can be had then.
fn leaves_ipv4(listening: &Listening) -> bool {
    let kind = if listening.datagrams {
        SocketType::DGRAM
    } else {
        SocketType::STREAM
    };
    let Ok(socket) = rustix::net::socket(AddressFamily::INET, kind, None) else {
        return false;
    };
    // Connections that are closing are in nobody's way, and this is in the way of nobody who sets the same. A datagram's socket that sets it
    // has ports that others have.
    if !listening.datagrams {
        let _ = sockopt::set_socket_reuseaddr(&socket, true);
    }
    rustix::net::bind(&socket, &SocketAddr::from((UNUSED, listening.port))).is_ok()
}

/// Those that listen of a table of TCP.
fn listening(table: &str) -> impl Iterator<Item = Listening> {
    entries(table)
        .take_while(|(_, state)| *state == LISTEN)
        .filter_map(|(local, _)| parse(local, false))
}

/// Those of a table of UDP that take what anybody sends.
fn serving(table: &str) -> impl Iterator<Item = Listening> {
    entries(table)
        .filter(|(_, state)| *state == UNCONNECTED)
        .filter_map(|(local, _)| parse(local, true))
}

/// Own address and state of the sockets in a table of the kernel's (`Documentation/networking/proc_net_tcp.rst`).
fn entries(table: &str) -> impl Iterator<Item = (&str, &str)> {
    table.lines().skip(1).map_while(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = fields.next()?;
        let state = fields.nth(1)?;
        Some((local, state))
    })
}

/// A socket's own address, if it is every one or one of the loopback.
fn parse(local: &str, datagrams: bool) -> Option<Listening> {
    let (address, port) = local.split_once(':')?;
    let address = parse_address(address)?;
    let port = u16::from_str_radix(port, 16).ok()?;
    (port != 0 && (address.is_unspecified() || address.is_loopback())).then_some(Listening {
        address,
        port,
        datagrams,
        ipv6_only: false,
    })
}

/// Words of 32 bits as the kernel has them in memory.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |from: usize| {
        let word = u32::from_str_radix(text.get(from..from + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(index * 8)?);
            }
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2
   2: 0540A8C0:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3
   3: 3500007F:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 6
   4: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4
   5: 00000000:0051 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5
";

    fn of(address: &str, datagrams: bool) -> Listening {
        let address: SocketAddr = address.parse().unwrap();
        Listening {
            address: address.ip(),
            port: address.port(),
            datagrams,
            ipv6_only: false,
        }
    }

    #[test]
    fn what_listens_for_everybody_or_the_machine_itself_is_told() {
        let listening = |table: &str| listening(table).collect::<Vec<_>>();
        // What listens at one address of a network has no place on the host; behind the first connection nothing listens.
        let ports = ["0.0.0.0:80", "127.0.0.1:8080", "127.0.0.53:53"];
        assert_eq!(listening(TABLE), ports.map(|at| of(at, false)));
        let six = "header
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A
   1: 00000000000000000000000001000000:0051 00000000000000000000000000000000:0000 0A
";
        let ports = ["[::]:80", "[::1]:81"];
        assert_eq!(listening(six), ports.map(|at| of(at, false)));
        for nonsense in [
            "",
            "header\n",
            "header\n 0: x:y z 0A",
            "header\n 0: 00:50 0 0A",
        ] {
            assert_eq!(listening(nonsense), []);
            assert_eq!(serving(nonsense).count(), 0);
        }
    }

    #[test]
    fn sockets_of_udp_that_are_connected_serve_nobody() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  10: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0 0
  11: 0100007F:0043 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 2 2 0 0
  12: 0200007F:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 3 2 0 0
";
        let found: Vec<_> = serving(table).collect();
        assert_eq!(found, ["0.0.0.0:53", "127.0.0.2:68"].map(|at| of(at, true)));
        assert_eq!(parse_range("32768\t60999\n"), Some(32768..=60999));
        assert_eq!(parse_range("x"), None);
    }

    #[test]
    fn a_socket_that_listens_here_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.3:0").unwrap();
        let wanted = of(&listener.local_addr().unwrap().to_string(), false);
        assert!(find(None).contains(&wanted));
        let reply = reply(&BTreeSet::from([wanted]));
        assert_eq!(reply.listeners[0].other, 0x7f00_0003);
        drop(listener);
        assert!(!find(None).contains(&wanted));
    }

    #[test]
    fn no_udp_socket_takes_the_place_of_one_that_listens() {
        let sockets = (1..=u16::MAX).map(|port| of(&format!("0.0.0.0:{port}"), true));
        let listener = of("[::]:443", false);
        let reply = reply(&sockets.chain([listener]).collect());
        assert_eq!(reply.listeners.len(), MOST);
        assert!(reply.listeners[0].ipv6 && !reply.listeners[0].datagrams);
    }

    #[test]
    fn a_udp_socket_serves_whose_port_no_client_is_given() {
        let client = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let mut ports = 20_000..u16::MAX;
        let server = ports.find_map(|port| std::net::UdpSocket::bind(("127.0.0.1", port)).ok());
        let server = server.unwrap();
        let at = |socket: &std::net::UdpSocket| of(&socket.local_addr().unwrap().to_string(), true);
        let found = find(None);
        assert!(found.contains(&at(&server)));
        assert!(!found.contains(&at(&client)));
        let wanted = at(&server);
        drop(server);
        assert!(!find(None).contains(&wanted));
    }

    #[test]
    fn a_socket_of_ipv6_alone_is_told_from_one_of_both() {
        let listen = |ipv6_only| {
            let socket =
                rustix::net::socket(AddressFamily::INET6, SocketType::STREAM, None).unwrap();
            sockopt::set_ipv6_v6only(&socket, ipv6_only).unwrap();
            rustix::net::bind(&socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).unwrap();
            rustix::net::listen(&socket, 1).unwrap();
            std::net::TcpListener::from(socket)
        };
        for ipv6_only in [true, false] {
            let listener = listen(ipv6_only);
            let port = listener.local_addr().unwrap().port();
            let wanted = Listening {
                ipv6_only,
                ..of(&format!("[::]:{port}"), false)
            };
            let found = find(None);
            assert!(found.contains(&wanted), "{ipv6_only}");
            assert!(find(Some(&found)).contains(&wanted));
            // A program that serves both by a socket each finds the other one free.
            let other = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
            assert_eq!(other.is_ok(), ipv6_only);
            drop(other);
            let own = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port));
            assert!(find(None).contains(&wanted), "{ipv6_only}: {own:?}");
        }
    }

    #[test]
    fn a_udp_socket_of_ipv6_alone_is_told_from_one_of_both() {
        for ipv6_only in [true, false] {
            let mut ports = 20_000..u16::MAX;
            let bound = ports.find_map(|port| {
                let socket =
                    rustix::net::socket(AddressFamily::INET6, SocketType::DGRAM, None).unwrap();
                sockopt::set_ipv6_v6only(&socket, ipv6_only).unwrap();
                let at = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
                rustix::net::bind(&socket, &at)
                    .is_ok()
                    .then_some((socket, port))
            });
            let (_socket, port) = bound.unwrap();
            let wanted = Listening {
                ipv6_only,
                ..of(&format!("[::]:{port}"), true)
            };
            assert!(find(None).contains(&wanted), "{ipv6_only}");
        }
    }
}
