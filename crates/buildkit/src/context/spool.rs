//! The paths of the announced files, by their number: the builder may ask for any of them. They are in a file without a name, so that a
//! context of any size takes no memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Bytes that wait to be written.
const PENDING: usize = 64 << 10;
/// Bytes of a place, and of a length.
const WORD: usize = 8;

/// Texts by their numbers, which count from 0.
#[derive(Debug)]
pub struct Spool {
    texts: Tail,
    /// Where each text begins.
    places: Tail,
    /// How many there are.
    count: u64,
}

impl Spool {
    /// An empty one.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            texts: Tail::new()?,
            places: Tail::new()?,
            count: 0,
        })
    }

    /// Puts `text` behind the others.
    pub fn push(&mut self, text: &str) -> io::Result<()> {
        self.places.push(&self.texts.length().to_le_bytes())?;
        self.texts.push(text.as_bytes())?;
        self.count += 1;
        Ok(())
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The text with this number; `None` where there is none.
    pub fn get(&self, number: u64) -> io::Result<Option<String>> {
        if number >= self.count {
            return Ok(None);
        }
        let place = |number: u64| {
            let mut word = [0; WORD];
            self.places.read(number * WORD as u64, &mut word)?;
            Ok::<_, io::Error>(u64::from_le_bytes(word))
        };
        let begin = place(number)?;
        let end = if number + 1 == self.count {
            self.texts.length()
        } else {
            place(number + 1)?
        };
        let length = usize::try_from(end - begin).map_err(io::Error::other)?;
        let mut text = vec![0; length];
        self.texts.read(begin, &mut text)?;
        String::from_utf8(text).map(Some).map_err(io::Error::other)
    }
}

/// A file that only grows, with its end in memory.
#[derive(Debug)]
struct Tail {
    file: File,
    written: u64,
    pending: Vec<u8>,
}

impl Tail {
    fn new() -> io::Result<Self> {
        Ok(Self {
            file: tempfile::tempfile()?,
            written: 0,
            pending: Vec::with_capacity(PENDING),
        })
    }

    fn length(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.pending.len() + bytes.len() > PENDING {
            self.file.write_all_at(&self.pending, self.written)?;
            self.written = self.length();
            self.pending.clear();
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    /// Fills `into` from `offset`. What was pushed at once is read at once: it lies on one side.
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let Some(inside) = offset.checked_sub(self.written) else {
            return self.file.read_exact_at(into, offset);
        };
        let begin = usize::try_from(inside).map_err(io::Error::other)?;
        let bytes = self
            .pending
            .get(begin..begin + into.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_wherever_they_are() {
        let mut spool = Spool::new().unwrap();
        for number in 0..20_000 {
            spool.push(&format!("directory/file-{number}")).unwrap();
        }
        for number in [0, 1, 4_095, 4_096, 8_191, 12_000, 19_998, 19_999] {
            let expected = format!("directory/file-{number}");
            assert_eq!(spool.get(number).unwrap(), Some(expected));
        }
        assert_eq!(spool.get(20_000).unwrap(), None);
        assert_eq!(spool.get(u64::MAX).unwrap(), None);
    }
}
