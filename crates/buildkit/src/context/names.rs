//! The names in a directory, in the order of their bytes. A directory may have a million: they are in one buffer.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::Dir;

/// Sorted names, to be taken one by one.
#[derive(Debug)]
pub struct Names {
    bytes: Vec<u8>,
    /// Begin and end of each.
    places: Vec<(u32, u32)>,
    next: usize,
}

impl Names {
    /// Those in `directory`.
    pub fn read(directory: &OwnedFd) -> rustix::io::Result<Self> {
        let mut bytes = Vec::new();
        let mut places = Vec::new();
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let place =
                |length: usize| u32::try_from(length).map_err(|_| rustix::io::Errno::TOOBIG);
            let begin = place(bytes.len())?;
            bytes.extend_from_slice(name);
            places.push((begin, place(bytes.len())?));
        }
        let name = |(begin, end): (u32, u32)| &bytes[begin as usize..end as usize];
        places.sort_unstable_by(|a, b| name(*a).cmp(name(*b)));
        Ok(Self {
            bytes,
            places,
            next: 0,
        })
    }

    /// The next name.
    pub fn next(&mut self) -> Option<&OsStr> {
        let (begin, end) = *self.places.get(self.next)?;
        self.next += 1;
        Some(OsStr::from_bytes(&self.bytes[begin as usize..end as usize]))
    }
}
