//! What the guest's kernel asks for: `struct fuse_lock_in` and `fuse_lock_out` of its `fs/fuse/locks.c`.

use super::ranges::{LAST, Mode, Range};
use super::{Access, Inode};

/// Bytes of a request: owner, first and last byte, kind of lock, whether it is one of `flock`.
const SIZE: usize = 32;

/// A lock that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who is to have it: a number that the guest's kernel makes for a process, or for an open file.
    pub owner: u64,
    /// For which bytes.
    pub range: Range,
    /// `None` gives it back.
    pub mode: Option<Mode>,
    /// One of `flock`(2), of the whole file.
    pub is_flock: bool,
}

impl Request {
    /// What `bytes` ask for, if that is something.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SIZE] = bytes.try_into().ok()?;
        let long = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let short = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let range = Range {
            first: long(8)?,
            last: long(16)?,
        };
        let is_flock = match short(28)? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let is_whole = range.first == 0 && range.last == LAST;
        if range.first > range.last || range.last > LAST || (is_flock && !is_whole) {
            return None;
        }
        let mode = match i32::try_from(short(24)?).ok()? {
            libc::F_RDLCK => Some(Mode::Read),
            libc::F_WRLCK => Some(Mode::Write),
            libc::F_UNLCK => None,
            _ => return None,
        };
        Some(Self {
            owner: long(0)?,
            range,
            mode,
            is_flock,
        })
    }

    /// The same of the hexadecimal digits of the bytes.
    pub fn parse_digits(digits: &[u8]) -> Option<Self> {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let mut bytes = Vec::with_capacity(SIZE);
        // Others are refused for their number.
        for pair in digits.chunks(2).take(SIZE + 1) {
            let &[high, low] = pair else {
                return None;
            };
            bytes.push(u8::try_from(digit(high)? << 4 | digit(low)?).ok()?);
        }
        Self::parse(&bytes)
    }

    /// How the file is to be open for it.
    pub fn access(&self) -> Access {
        if self.is_flock {
            Access::Read
        } else {
            Access::Write
        }
    }

    /// Who asks, for which file.
    pub fn key(&self, inode: Inode) -> (Inode, u64, bool) {
        (inode, self.owner, self.is_flock)
    }
}

/// The answer to a question, 24 bytes.
pub fn answer(found: Option<(Range, Mode)>) -> Vec<u8> {
    let (range, kind) = match found {
        Some((range, Mode::Read)) => (range, libc::F_RDLCK),
        Some((range, Mode::Write)) => (range, libc::F_WRLCK),
        None => (Range::WHOLE, libc::F_UNLCK),
    };
    let numbers = [range.first, range.last].map(u64::to_ne_bytes).concat();
    [&numbers[..], &kind.to_ne_bytes(), &[0; 4]].concat()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// As the guest's kernel writes it.
    pub fn bytes(owner: u64, first: u64, last: u64, kind: i32, flock: u32) -> Vec<u8> {
        let numbers = [owner, first, last].map(u64::to_ne_bytes).concat();
        [&numbers[..], &kind.to_ne_bytes(), &flock.to_ne_bytes()].concat()
    }

    /// As it asks a question.
    pub fn digits(bytes: &[u8]) -> String {
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits
            .map(|digit| char::from_digit(u32::from(digit), 16).unwrap())
            .collect()
    }

    #[test]
    fn a_request_is_one_or_none() {
        let parse = |first, last, kind, flock| Request::parse(&bytes(7, first, last, kind, flock));
        let request = parse(3, LAST, libc::F_WRLCK, 0).unwrap();
        assert_eq!((request.owner, request.range.first), (7, 3));
        assert_eq!(
            (request.range.last, request.mode),
            (LAST, Some(Mode::Write))
        );
        assert_eq!(parse(0, LAST, libc::F_UNLCK, 1).unwrap().mode, None);
        for (first, last, kind, flock) in [
            (1, 0, libc::F_RDLCK, 0),
            (0, LAST + 1, libc::F_RDLCK, 0),
            (u64::MAX, u64::MAX, libc::F_RDLCK, 0),
            (0, 1, 3, 0),
            (0, 1, -1, 0),
            (0, 1, libc::F_RDLCK, 1),
            (0, LAST, libc::F_RDLCK, 2),
        ] {
            assert_eq!(parse(first, last, kind, flock), None, "{first} {last}");
        }
        assert_eq!(Request::parse(&[0; SIZE - 1]), None);
        assert_eq!(Request::parse(&[0; SIZE + 1]), None);
    }

    #[test]
    fn a_question_is_a_request_in_digits() {
        let bytes = bytes(u64::MAX - 1, 0, 9, libc::F_RDLCK, 0);
        let digits = digits(&bytes);
        let parse = |text: &str| Request::parse_digits(text.as_bytes());
        assert_eq!(parse(&digits), Request::parse(&bytes));
        assert!(parse(&digits).is_some());
        for wrong in ["", &digits[1..], &digits[2..], &format!("{digits}00")] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(parse(&digits.replacen('f', "g", 1)), None);
    }
}
