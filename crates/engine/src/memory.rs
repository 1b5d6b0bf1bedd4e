//! What a machine costs the host.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::vm::Vm;

/// What a machine costs the host: its VMM's proportional set size, guest memory included. The kernel's answer stays open,
/// for a process that will not be let near another one's any more.
#[derive(Debug)]
pub struct HostMemory(File);

impl HostMemory {
    /// Prepares to ask about `vm`.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn open(vm: &Vm) -> io::Result<Self> {
        File::open(format!("/proc/{}/smaps_rollup", vm.pid())).map(Self)
    }

    /// What it costs now, in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn bytes(&self) -> io::Result<u64> {
        // The whole answer has less than a kilobyte.
        let mut text = [0; 4096];
        let mut length = 0;
        while length < text.len() {
            let offset = u64::try_from(length).map_err(io::Error::other)?;
            match self.0.read_at(&mut text[length..], offset)? {
                0 => break,
                read => length += read,
            }
        }
        parse_pss(&String::from_utf8_lossy(&text[..length]))
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// The `Pss:` line of a `smaps_rollup` (Documentation/filesystems/proc.rst), in bytes.
fn parse_pss(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pss_is_read_in_bytes() {
        let rollup = "55d0-7ffe ---p 00000000 00:00 0 [rollup]\nRss:  900 kB\nPss:   123 kB\n";
        assert_eq!(parse_pss(rollup), Some(123 * 1024));
        assert_eq!(parse_pss("Rss: 1 kB\n"), None);
        let own = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        assert!(parse_pss(&own).unwrap() > 100_000);
    }
}
