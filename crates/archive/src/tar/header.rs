//! The 512-byte header (POSIX.1-2001 `pax`, GNU tar manual "Basic Tar Format").

use super::{BLOCK, TarError};

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A further name of an earlier member.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// The type flag with those that describe the next member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flag {
    Member(Kind),
    /// V7's only one beside links: a file, or a directory if its name ends in a slash.
    Old,
    GnuSparse,
    PaxLocal,
    PaxGlobal,
    GnuLongName,
    GnuLongLink,
    /// A directory of an incremental dump; its content is a list of its files.
    GnuDump,
    /// The archive's own name.
    GnuLabel,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    V7,
    Ustar,
    /// Schilling's tar: a shorter prefix, times behind it.
    Star,
    Gnu,
}

/// A header whose checksum is right.
pub(super) struct Header {
    raw: [u8; BLOCK],
    dialect: Dialect,
}

impl Header {
    pub(super) fn parse(raw: &[u8; BLOCK]) -> Result<Self, TarError> {
        let stored = octal(&raw[148..156]).ok_or(TarError::Checksum)?;
        // Old programs summed up signed bytes.
        let (mut unsigned, mut signed) = (0_u64, 0_i64);
        for (at, byte) in raw.iter().enumerate() {
            let byte = if (148..156).contains(&at) {
                b' '
            } else {
                *byte
            };
            unsigned += u64::from(byte);
            signed += i64::from(i8::from_ne_bytes([byte]));
        }
        if stored != unsigned && i64::try_from(stored) != Ok(signed) {
            return Err(TarError::Checksum);
        }
        let dialect = match (&raw[257..263], &raw[263..265]) {
            (b"ustar\0", _) if &raw[508..] == b"tar\0" => Dialect::Star,
            (b"ustar\0", _) => Dialect::Ustar,
            (b"ustar ", b" \0") => Dialect::Gnu,
            _ => Dialect::V7,
        };
        Ok(Self { raw: *raw, dialect })
    }

    pub(super) fn flag(&self) -> Result<Flag, TarError> {
        Ok(match self.raw[156] {
            0 => Flag::Old,
            b'0' | b'7' => Flag::Member(Kind::File),
            b'1' => Flag::Member(Kind::HardLink),
            b'2' => Flag::Member(Kind::Symlink),
            b'3' => Flag::Member(Kind::Character),
            b'4' => Flag::Member(Kind::Block),
            b'5' => Flag::Member(Kind::Directory),
            b'6' => Flag::Member(Kind::Fifo),
            b'S' if self.dialect == Dialect::Gnu => Flag::GnuSparse,
            b'x' => Flag::PaxLocal,
            b'g' => Flag::PaxGlobal,
            b'L' => Flag::GnuLongName,
            b'K' => Flag::GnuLongLink,
            b'D' => Flag::GnuDump,
            // GNU's tar gives it no magic number.
            b'V' => Flag::GnuLabel,
            other => return Err(TarError::UnknownType(other)),
        })
    }

    /// The name, with ustar's prefix before it.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = until_nul(&self.raw[..100]);
        let prefix = match self.dialect {
            Dialect::Ustar => until_nul(&self.raw[345..500]),
            Dialect::Star => until_nul(&self.raw[345..476]),
            Dialect::Gnu => self.prefix_of_old_go(),
            Dialect::V7 => b"",
        };
        if prefix.is_empty() {
            name.to_vec()
        } else {
            [prefix, b"/", name].concat()
        }
    }

    /// Go before 1.8, and so the layers of its time, wrote ustar's prefix into GNU headers too. GNU has two
    /// times at its place: where they are no numbers, and the whole is ASCII, Go takes it for the prefix.
    fn prefix_of_old_go(&self) -> &[u8] {
        let is_time = |field: &[u8]| field[0] == 0 || numeric(field).is_some();
        let prefix = until_nul(&self.raw[345..500]);
        if is_time(&self.raw[345..357]) && is_time(&self.raw[357..369]) || !prefix.is_ascii() {
            b""
        } else {
            prefix
        }
    }

    pub(super) fn link(&self) -> &[u8] {
        until_nul(&self.raw[157..257])
    }

    pub(super) fn size(&self) -> Result<u64, TarError> {
        unsigned(&self.raw[124..136]).ok_or(TarError::Malformed("size"))
    }

    pub(super) fn mode(&self) -> Result<u64, TarError> {
        unsigned(&self.raw[100..108]).ok_or(TarError::Malformed("mode"))
    }

    pub(super) fn uid(&self) -> Result<u64, TarError> {
        unsigned(&self.raw[108..116]).ok_or(TarError::Malformed("owner"))
    }

    pub(super) fn gid(&self) -> Result<u64, TarError> {
        unsigned(&self.raw[116..124]).ok_or(TarError::Malformed("group"))
    }

    pub(super) fn mtime(&self) -> Result<i64, TarError> {
        numeric(&self.raw[136..148])
            .and_then(|seconds| i64::try_from(seconds).ok())
            .ok_or(TarError::Malformed("time"))
    }

    pub(super) fn device(&self) -> Result<(u64, u64), TarError> {
        if self.dialect == Dialect::V7 {
            return Ok((0, 0));
        }
        unsigned(&self.raw[329..337])
            .zip(unsigned(&self.raw[337..345]))
            .ok_or(TarError::Malformed("device number"))
    }

    /// The sparse fields of a GNU header: the map's first part, whether more follows, the file's size.
    pub(super) fn sparse(&self) -> Result<(&[u8], bool, u64), TarError> {
        let size = unsigned(&self.raw[483..495]).ok_or(TarError::Malformed("sparse size"))?;
        Ok((&self.raw[386..482], self.raw[482] != 0, size))
    }
}

pub(super) fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or(field)
}

/// A number that cannot be negative.
pub(super) fn unsigned(field: &[u8]) -> Option<u64> {
    numeric(field).and_then(|value| u64::try_from(value).ok())
}

/// Octal text, or base 256 as GNU writes what octal cannot hold.
fn numeric(field: &[u8]) -> Option<i128> {
    if field[0] & 0x80 == 0 {
        return octal(field).map(i128::from);
    }
    // At most 12 bytes, so nothing overflows. Bit 6 of the first byte is the sign.
    let negative = field[0] & 0x40 != 0;
    let start = if negative { -1 } else { 0 };
    let first = if negative { field[0] } else { field[0] & 0x7f };
    let value = std::iter::once(first)
        .chain(field[1..].iter().copied())
        .fold(start, |value: i128, byte| (value << 8) | i128::from(byte));
    Some(value)
}

/// Octal digits between blanks and NULs. An empty field is 0.
fn octal(field: &[u8]) -> Option<u64> {
    let is_filler = |byte: &u8| matches!(byte, 0 | b' ');
    let start = field.iter().take_while(|byte| is_filler(byte)).count();
    let text = until_nul(&field[start..]).trim_ascii_end();
    text.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_both_notations() {
        assert_eq!(numeric(b"0000644\0"), Some(0o644));
        assert_eq!(numeric(b"   644 \0"), Some(0o644));
        assert_eq!(numeric(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(numeric(b"\0\0  644 "), Some(0o644));
        assert_eq!(numeric(b"0000648\0"), None);
        assert_eq!(numeric(b"\x80\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(numeric(&[0xff; 12]), Some(-1));
        let mut big = [0; 12];
        big[0] = 0x80;
        big[4..].fill(0xff);
        assert_eq!(unsigned(&big), Some(u64::MAX));
        big[3] = 1;
        assert_eq!(unsigned(&big), None);
    }
}
