//! Ports at which programs of the container listen.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use container_api::guest::{Listener, ListenersReply};
use futures::{Stream, stream};
use rustix::net::{AddressFamily, SocketType, sockopt};
use tonic::Status;

/// How often it is looked: the kernel tells nobody that a socket begins to listen.
const PERIOD: Duration = Duration::from_millis(250);
/// The kernel's tables: sockets that listen come first.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
/// The most bytes that are read of a table, with some 150 for each socket.
const LIMIT: u64 = 256 << 10;
/// The most that are told of.
const MOST: usize = 1024;
/// State of a socket that listens (`TCP_LISTEN` of `linux/tcp_states.h`).
const LISTEN: &str = "0A";

/// An address of the loopback at which no program listens by itself.
const UNUSED: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 254);

/// A port at which a program listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Listening {
    port: u16,
    ipv6: bool,
    loopback: bool,
    /// At every address of IPv6, and none of IPv4; not looked at yet in what a table says.
    ipv6_only: bool,
}

impl Listening {
    /// A socket of IPv6 that may serve IPv4 as well.
    const fn may_be_both(self) -> bool {
        self.ipv6 && !self.loopback
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
        ipv6: listening.ipv6,
        loopback: listening.loopback,
        ipv6_only: listening.ipv6_only,
    });
    ListenersReply {
        listeners: listeners.collect(),
    }
}

/// What listens now; `before` is what did.
fn find(before: Option<&BTreeSet<Listening>>) -> BTreeSet<Listening> {
    let mut found = BTreeSet::new();
    for table in TABLES {
        let mut text = String::new();
        // A kernel without IPv6 has one of them.
        let read =
            std::fs::File::open(table).and_then(|file| file.take(LIMIT).read_to_string(&mut text));
        if read.is_ok() {
            found.extend(listening(&text));
        }
    }
    let known = |one: &Listening| {
        let before = before.into_iter().flatten();
        let mut same = before.filter(|other| other.may_be_both() && other.port == one.port);
        same.next().map(|other| other.ipv6_only)
    };
    let whole = found.into_iter().map(|one| Listening {
        // Looked at once: meanwhile another program might want the port.
        ipv6_only: one.may_be_both() && known(&one).unwrap_or_else(|| leaves_ipv4(one.port)),
        ..one
    });
    whole.collect()
}

/// Whether nothing listens at `port` of every IPv4 address, which is to be seen in no table where a socket of IPv6 may do so: an address that
/// nobody uses can be had then.
fn leaves_ipv4(port: u16) -> bool {
    let Ok(socket) = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None) else {
        return false;
    };
    // Connections that are closing are in nobody's way, and this is in the way of nobody who sets the same.
    let _ = sockopt::set_socket_reuseaddr(&socket, true);
    rustix::net::bind(&socket, &SocketAddr::from((UNUSED, port))).is_ok()
}

/// Those in a table of the kernel's (`Documentation/networking/proc_net_tcp.rst`).
fn listening(table: &str) -> impl Iterator<Item = Listening> {
    let entries = table.lines().skip(1).map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = fields.next()?;
        let state = fields.nth(1)?;
        Some((local, state))
    });
    entries
        .map_while(|entry| entry.filter(|(_, state)| *state == LISTEN))
        .filter_map(|(local, _)| parse(local))
}

/// A socket's own address, if it is every one or the loopback one.
fn parse(local: &str) -> Option<Listening> {
    let (address, port) = local.split_once(':')?;
    let address = parse_address(address)?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // 127.0.0.53 and the like are loopback addresses, too, but nobody reaches them at 127.0.0.1.
    let loopback = address == Ipv4Addr::LOCALHOST || address == Ipv6Addr::LOCALHOST;
    (port != 0 && (address.is_unspecified() || loopback)).then(|| Listening {
        ipv6_only: false,
        port,
        ipv6: address.is_ipv6(),
        loopback,
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

    #[test]
    fn what_listens_for_everybody_or_the_machine_itself_is_told() {
        let listening = |table: &str| listening(table).collect::<Vec<_>>();
        let of = |port, ipv6, loopback| Listening {
            port,
            ipv6,
            loopback,
            ipv6_only: false,
        };
        // What listens at one address of a network, or at another one of the loopback, has no place on the host; behind the first connection nothing listens.
        assert_eq!(
            listening(TABLE),
            [of(80, false, false), of(8080, false, true)]
        );
        let six = "header
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A
   1: 00000000000000000000000001000000:0051 00000000000000000000000000000000:0000 0A
";
        assert_eq!(listening(six), [of(80, true, false), of(81, true, true)]);
        for nonsense in [
            "",
            "header\n",
            "header\n 0: x:y z 0A",
            "header\n 0: 00:50 0 0A",
        ] {
            assert_eq!(listening(nonsense), []);
        }
    }

    #[test]
    fn a_socket_that_listens_here_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let wanted = Listening {
            port,
            ipv6: false,
            loopback: true,
            ipv6_only: false,
        };
        assert!(find(None).contains(&wanted));
        drop(listener);
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
                port,
                ipv6: true,
                loopback: false,
                ipv6_only,
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
}
