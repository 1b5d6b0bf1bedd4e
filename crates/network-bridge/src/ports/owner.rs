//! Who has a port of the host.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::{fmt, fs};

use super::published::Protocol;

/// `TCP_LISTEN` (`net/tcp_states.h`), as `/proc/net/tcp` prints it.
const LISTEN: &str = "0A";
/// The most lines of sockets that are looked at.
const MAX_LINES: usize = 100_000;
/// The program of a network's process.
const NETWORK: &str = "container-network-bridge";

/// A process that has a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    process: String,
    program: String,
    /// It is a network's, which holds ports for containers.
    pub is_network: bool,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.program, self.process)
    }
}

/// The process because of which `wanted` can't be had; nothing where that can't be seen, as other users' processes often can't.
pub fn find(protocol: Protocol, wanted: SocketAddr) -> Option<Owner> {
    let table = |family: &str| {
        let path = format!("/proc/net/{}{family}", protocol.name());
        fs::read_to_string(path).unwrap_or_default()
    };
    let tables = [table(""), table("6")];
    let held = tables.iter().flat_map(|table| sockets(table, protocol));
    let in_the_way: Vec<Socket> = held.filter(|held| overlap(held.at, wanted)).collect();
    // Whether a socket of IPv6 is one of IPv4, too, is not shown.
    let (sure, others): (Vec<_>, Vec<_>) = in_the_way
        .into_iter()
        .partition(|held| held.at.is_ipv6() == wanted.is_ipv6());
    holder(&sure).or_else(|| holder(&others))
}

/// Whether two programs can't have these at once.
pub fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_all = |address: IpAddr| address.is_unspecified();
    let (here, there) = (one.ip().to_canonical(), other.ip().to_canonical());
    let is_met = if here.is_ipv4() == there.is_ipv4() {
        here == there || is_all(here) || is_all(there)
    } else {
        // By all addresses of IPv6 programs mostly mean those of IPv4 as well; our own sockets do not.
        here == Ipv6Addr::UNSPECIFIED
    };
    one.port() == other.port() && is_met
}

/// The process that has one of `sockets` open.
fn holder(sockets: &[Socket]) -> Option<Owner> {
    if sockets.is_empty() {
        return None;
    }
    let is_wanted = |link: &OsStr| {
        let mut inodes = sockets.iter().map(|socket| &socket.inode);
        inodes.any(|inode| link == OsStr::new(&format!("socket:[{inode}]")))
    };
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) = name
            .to_str()
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let holds = descriptors
            .flatten()
            .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
            .any(|link| is_wanted(link.as_os_str()));
        if holds {
            return Some(Owner {
                process: pid.to_owned(),
                program: program(&process.path()),
                is_network: is_network(&process.path()),
            });
        }
    }
    None
}

/// A process may call itself what it likes: nothing of that reaches the terminal but plain letters.
fn program(process: &Path) -> String {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    let plain = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    name.trim().chars().map(plain).collect()
}

/// Also one whose program has been exchanged since.
fn is_network(process: &Path) -> bool {
    let program = fs::read_link(process.join("exe")).unwrap_or_default();
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    name.split(' ').next() == Some(NETWORK)
}

/// A socket that has a port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Socket {
    at: SocketAddr,
    inode: String,
}

/// Those that have a port, of a table such as `/proc/net/tcp` (proc(5)).
fn sockets(table: &str, protocol: Protocol) -> impl Iterator<Item = Socket> {
    let socket = move |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().take(10).collect();
        let [_, local, _, state, .., inode] = fields[..] else {
            return None;
        };
        let (ip, port) = local.rsplit_once(':')?;
        let at = SocketAddr::new(address(ip)?, u16::from_str_radix(port, 16).ok()?);
        let held = protocol == Protocol::Udp || state == LISTEN;
        (held && fields.len() == 10).then(|| Socket {
            at,
            inode: inode.to_owned(),
        })
    };
    table.lines().skip(1).take(MAX_LINES).filter_map(socket)
}

/// Words of 32 bits in the host's order.
fn address(digits: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = digits.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match digits.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn tables_of_sockets() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100
   1: 0100007F:1F90 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100
   2: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100
   3: 0000F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4714 1 0 100
   4: short";
        let found = |protocol| {
            let found = sockets(table, protocol);
            found
                .map(|socket| (socket.at, socket.inode))
                .collect::<Vec<_>>()
        };
        let one = (at("127.0.0.1:8080"), "4711".to_owned());
        let six = (at("[::1]:80"), "4713".to_owned());
        assert_eq!(found(Protocol::Tcp), [one.clone(), six.clone()]);
        let other = (one.0, "4712".to_owned());
        assert_eq!(found(Protocol::Udp), [one, other, six]);
    }

    #[test]
    fn a_port_is_in_the_way_at_its_address_alone() {
        for (held, wanted, is_in_the_way) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("0.0.0.0:80", "127.0.0.2:80", true),
            ("0.0.0.0:80", "[::]:80", false),
            ("[::]:80", "0.0.0.0:80", true),
            ("[::]:80", "[::1]:80", true),
            ("[::1]:80", "[::]:80", true),
            ("[::1]:80", "127.0.0.1:80", false),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", true),
            ("[::ffff:127.0.0.1]:80", "[::]:80", false),
        ] {
            assert_eq!(
                overlap(at(held), at(wanted)),
                is_in_the_way,
                "{held} {wanted}"
            );
        }
    }
}
