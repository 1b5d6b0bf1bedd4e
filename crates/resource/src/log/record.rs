use jiff::Timestamp;

use super::{MAX_RECORD, Stream};

/// One record of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When the output was read, as it stands in the file.
    time: &'a [u8],
    /// Where it was written.
    pub stream: Stream,
    /// Whether a newline followed the content.
    pub ends_line: bool,
    /// What was written, without the newline.
    pub content: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record of a line without its newline; `None` when it is broken.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.splitn(4, |&byte| byte == b' ');
        let time = fields.next()?;
        let stream = match fields.next()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        let ends_line = match fields.next()? {
            b"F" => true,
            b"P" => false,
            _ => return None,
        };
        let content = fields.next()?;
        Some(Self {
            time,
            stream,
            ends_line,
            content,
        })
    }

    /// When the output was read; `None` when the file says nonsense.
    pub fn time(&self) -> Option<Timestamp> {
        std::str::from_utf8(self.time).ok()?.parse().ok()
    }

    /// The time as it stands in the file.
    pub fn time_text(&self) -> &'a [u8] {
        self.time
    }
}

/// Reads records out of a stream of bytes that comes in pieces of any size. It holds at most one record.
#[derive(Debug, Default)]
pub struct Parser {
    /// The beginning of a record whose end has not come yet.
    begun: Vec<u8>,
    /// Inside a line that is too long to be a record: everything up to its newline is dropped.
    overlong: bool,
}

impl Parser {
    /// Takes the next bytes and gives each record that they complete to `each`. What is no record is left out:
    /// it can only be damage.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Record<'_>)) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let Some(end) = piece.strip_suffix(b"\n") else {
                self.begin(piece);
                continue;
            };
            if self.overlong {
                self.overlong = false;
            } else if self.begun.is_empty() {
                Record::parse(end).into_iter().for_each(&mut each);
            } else {
                self.begin(end);
                if !std::mem::take(&mut self.overlong) {
                    Record::parse(&self.begun).into_iter().for_each(&mut each);
                }
            }
            self.begun.clear();
        }
    }

    fn begin(&mut self, bytes: &[u8]) {
        if self.overlong || self.begun.len() + bytes.len() > MAX_RECORD {
            self.overlong = true;
            self.begun.clear();
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(pieces: &[&[u8]]) -> Vec<String> {
        let mut read = Vec::new();
        let mut parser = Parser::default();
        for piece in pieces {
            parser.feed(piece, |record| {
                read.push(String::from_utf8_lossy(record.content).into_owned());
            });
        }
        read
    }

    #[test]
    fn a_record_in_pieces_is_one_record() {
        let pieces: [&[u8]; 3] = [b"2026-01-01T00:00:00Z std", b"out F a", b"b\n2026"];
        assert_eq!(contents(&pieces), ["ab"]);
    }

    #[test]
    fn damage_is_left_out_and_reading_goes_on() {
        let file = b"\njunk\nt stdout X a\nt stdin F b\nt stdout F\nt stderr F good\n";
        assert_eq!(contents(&[file]), ["good"]);
    }

    #[test]
    fn memory_is_bounded_by_one_record() {
        let mut parser = Parser::default();
        for _ in 0..1000 {
            parser.feed(&[b'x'; 4096], |_| panic!("no record"));
            assert!(parser.begun.capacity() <= 2 * MAX_RECORD);
        }
        let mut read = 0;
        parser.feed(b"\nt stdout F x\n", |_| read += 1);
        assert_eq!(read, 1);
    }

    #[test]
    fn times_are_read() {
        Parser::default().feed(b"2026-01-01T00:00:00.5Z stdout F x\n", |record| {
            assert_eq!(record.time().unwrap().as_millisecond() % 1000, 500);
            assert_eq!(record.time_text(), b"2026-01-01T00:00:00.5Z");
        });
    }
}
