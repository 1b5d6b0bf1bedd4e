//! Who has a port of the host.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use super::published::Protocol;

/// `TCP_LISTEN` (`net/tcp_states.h`), as `/proc/net/tcp` prints it.
const LISTEN: &str = "0A";
/// The most lines of sockets that are looked at.
const MAX_LINES: usize = 100_000;

/// The process that has `port`, in words; nothing where that can't be seen, as other users' processes often can't.
pub fn find(protocol: Protocol, port: u16) -> Option<String> {
    let inodes: Vec<String> = ["", "6"]
        .iter()
        .filter_map(|family| {
            fs::read_to_string(format!("/proc/net/{}{family}", protocol.name())).ok()
        })
        .flat_map(|table| sockets(&table, protocol, port))
        .collect();
    let is_wanted = |link: &OsStr| {
        inodes
            .iter()
            .any(|inode| link == OsStr::new(&format!("socket:[{inode}]")))
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
            return Some(format!("{} (process {pid})", program(&process.path())));
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

/// Inodes of the sockets that have the port, of a table such as `/proc/net/tcp` (proc(5)).
fn sockets(table: &str, protocol: Protocol, port: u16) -> Vec<String> {
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().take(10).collect();
        let [_, local, _, state, .., inode] = fields[..] else {
            return None;
        };
        let (_, local_port) = local.rsplit_once(':')?;
        let same = u16::from_str_radix(local_port, 16) == Ok(port);
        let held = protocol == Protocol::Udp || state == LISTEN;
        (same && held && fields.len() == 10).then(|| inode.to_owned())
    };
    table
        .lines()
        .skip(1)
        .take(MAX_LINES)
        .filter_map(inode)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_sockets() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100
   1: 0100007F:1F90 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100
   2: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100
   3: short";
        assert_eq!(sockets(table, Protocol::Tcp, 8080), ["4711"]);
        assert_eq!(sockets(table, Protocol::Udp, 8080), ["4711", "4712"]);
    }
}
