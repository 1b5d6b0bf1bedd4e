//! The host's resolvers, as `/etc/resolv.conf` says (resolv.conf(5)).

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use container_files::Links;

use super::PORT;

/// The most resolvers that are used (`MAXNS`).
pub const MAX_SERVERS: usize = 3;
/// The largest file, in bytes.
const LIMIT: u64 = 64 << 10;

/// Resolvers that follow the file.
#[derive(Debug)]
pub struct ResolvConf {
    path: PathBuf,
    read: Mutex<Option<(Stamp, Vec<SocketAddr>)>>,
}

/// What tells that the file is another one: when it was written, how long it is, which file it is.
type Stamp = (Option<SystemTime>, u64, u64);

impl ResolvConf {
    /// Of the file at `path`, which need not be there.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            read: Mutex::new(None),
        }
    }

    /// The resolvers that it names now; the host itself where it names none.
    pub fn servers(&self) -> Vec<SocketAddr> {
        let stamp = self.stamp();
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match &*read {
            Some((known, servers)) if *known == stamp => servers.clone(),
            _ => {
                let text = container_files::read_text(&self.path, LIMIT, Links::Follow);
                let servers = parse(&text.unwrap_or_default());
                *read = Some((stamp, servers.clone()));
                servers
            }
        }
    }

    fn stamp(&self) -> Stamp {
        use std::os::unix::fs::MetadataExt;
        let found = std::fs::metadata(&self.path);
        found.map_or((None, 0, 0), |found| {
            (found.modified().ok(), found.len(), found.ino())
        })
    }
}

fn parse(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("nameserver"), Some(address)) => address_of(address),
            _ => None,
        }
    };
    let mut servers: Vec<SocketAddr> = text.lines().filter_map(server).take(MAX_SERVERS).collect();
    if servers.is_empty() {
        servers.push((Ipv4Addr::LOCALHOST, PORT).into());
    }
    servers
}

/// An address, a link-local one with its interface behind a `%`.
fn address_of(text: &str) -> Option<SocketAddr> {
    if let Some((address, interface)) = text.split_once('%') {
        let index = match interface.parse() {
            Ok(index) => index,
            Err(_) if interface.contains('/') => return None,
            Err(_) => std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))
                .ok()?
                .trim()
                .parse()
                .ok()?,
        };
        let address = address.parse().ok()?;
        return Some(SocketAddrV6::new(address, PORT, 0, index).into());
    }
    text.parse::<IpAddr>()
        .ok()
        .map(|address| (address, PORT).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_says() {
        let text = "# nameserver 192.0.2.9\nsearch example.org\n nameserver 127.0.0.53 # stub\nnameserver\n\
            nameserver x\nnameserver fe80::1%1\nnameserver ::1\nnameserver 192.0.2.4";
        let found: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.53:53", "[fe80::1%1]:53", "[::1]:53"]);
        assert_eq!(parse("")[0].to_string(), "127.0.0.1:53");
    }

    #[test]
    fn a_changed_file_is_followed() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("resolv.conf");
        let read = ResolvConf::new(path.clone());
        assert_eq!(read.servers()[0].to_string(), "127.0.0.1:53");
        for address in ["192.0.2.1", "192.0.2.22", "192.0.2.3"] {
            // As most programs change it: another file in its place.
            let new = scratch.path().join("new");
            std::fs::write(&new, format!("nameserver {address}\n")).unwrap();
            std::fs::rename(&new, &path).unwrap();
            assert_eq!(read.servers()[0].ip().to_string(), address);
        }
    }
}
