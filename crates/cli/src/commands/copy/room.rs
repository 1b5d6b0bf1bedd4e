//! A bound for data that a guest sends: the guest itself says how much there is, and could fill the user's disk.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes that stay free on the file system that is copied to, and the part of it that they are at most: a small one is not all spare.
const SPARE: u64 = 64 << 20;
const SPARE_PART: u64 = 16;

/// A stream of at most as many bytes as there is room for. Holes are no bytes of it.
#[derive(Debug)]
pub struct Room<R> {
    inner: R,
    left: u64,
    path: PathBuf,
}

impl<R> Room<R> {
    /// What `inner` reads, for the file system of `path`, or of what is above it where there is no such file yet.
    pub fn new(inner: R, path: &Path) -> Self {
        Self {
            inner,
            left: room_at(path),
            path: path.to_owned(),
        }
    }
}

impl<R: Read> Read for Room<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        if most == 0 && !bytes.is_empty() {
            let text = format!("there is no room for it at {}", self.path.display());
            return Err(io::Error::new(io::ErrorKind::StorageFull, text));
        }
        let wanted = bytes.len().min(most);
        let count = self.inner.read(&mut bytes[..wanted])?;
        self.left -= count as u64;
        Ok(count)
    }
}

/// Bytes that this user may write there. A file system that does not tell has no bound.
fn room_at(path: &Path) -> u64 {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut found = absolute
        .ancestors()
        .filter_map(|path| rustix::fs::statvfs(path).ok());
    found
        .next()
        .filter(|found| found.f_blocks > 0)
        .map_or(u64::MAX, |found| {
            let spare = SPARE.min(found.f_blocks.saturating_mul(found.f_frsize) / SPARE_PART);
            found
                .f_bavail
                .saturating_mul(found.f_frsize)
                .saturating_sub(spare)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_there_is_room_for() {
        let mut room = Room {
            inner: io::repeat(1),
            left: 1000,
            path: "/target".into(),
        };
        let mut bytes = Vec::new();
        let error = room.read_to_end(&mut bytes).unwrap_err();
        assert_eq!(
            (bytes.len(), error.kind()),
            (1000, io::ErrorKind::StorageFull)
        );
        assert!(error.to_string().contains("/target"), "{error}");
        assert!(room_at(Path::new("/none/such")) > 0);
    }
}
