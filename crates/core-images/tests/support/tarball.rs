//! Tar archives, right and wrong ones: every field of a header can be set.

pub const BLOCK: usize = 512;

/// A member's raw header and data.
#[derive(Clone)]
pub struct Member {
    pub name: Vec<u8>,
    pub kind: u8,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub mtime: i64,
    pub major: u64,
    pub minor: u64,
    /// What the header says; the data's length when `None`.
    pub size: Option<u64>,
    pub data: Vec<u8>,
}

impl Member {
    pub fn new(kind: u8, name: impl AsRef<[u8]>) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            kind,
            link: Vec::new(),
            mode: if kind == b'5' { 0o755 } else { 0o644 },
            uid: 0,
            mtime: 0,
            major: 0,
            minor: 0,
            size: None,
            data: Vec::new(),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut raw = [0; BLOCK];
        let mut put = |at: usize, text: &[u8]| raw[at..at + text.len()].copy_from_slice(text);
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(108, &number(self.uid.into(), 8));
        put(116, &number(0, 8));
        put(
            124,
            &number(self.size.unwrap_or(self.data.len() as u64).into(), 12),
        );
        put(136, &number(self.mtime.into(), 12));
        put(156, &[self.kind]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, &number(self.major.into(), 8));
        put(337, &number(self.minor.into(), 8));
        checksum(&mut raw);
        let mut bytes = raw.to_vec();
        bytes.extend_from_slice(&self.data);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }
}

/// Octal, or base 256 where that does not fit.
fn number(value: i128, width: usize) -> Vec<u8> {
    let octal = format!("{value:o}");
    if value >= 0 && octal.len() < width {
        return format!("{octal:0>width$}", width = width - 1).into_bytes();
    }
    let mut bytes = value.to_be_bytes()[16 - width..].to_vec();
    bytes[0] |= 0x80;
    bytes
}

pub fn checksum(raw: &mut [u8; BLOCK]) {
    raw[148..156].fill(b' ');
    let sum: u32 = raw.iter().map(|byte| u32::from(*byte)).sum();
    raw[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub fn file(name: &str, data: impl AsRef<[u8]>) -> Vec<u8> {
    Member {
        data: data.as_ref().to_vec(),
        ..Member::new(b'0', name)
    }
    .bytes()
}

pub fn directory(name: &str) -> Vec<u8> {
    Member::new(b'5', name).bytes()
}

pub fn symlink(name: &str, target: &str) -> Vec<u8> {
    Member {
        link: target.into(),
        ..Member::new(b'2', name)
    }
    .bytes()
}

pub fn hard_link(name: &str, target: &str) -> Vec<u8> {
    Member {
        link: target.into(),
        ..Member::new(b'1', name)
    }
    .bytes()
}

pub fn device(kind: u8, name: &str, major: u64, minor: u64) -> Vec<u8> {
    Member {
        major,
        minor,
        ..Member::new(kind, name)
    }
    .bytes()
}

/// An extended header for the member that follows.
pub fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        let body = key.len() + value.len() + 3;
        let length = body + (body + body.to_string().len()).to_string().len();
        data.extend_from_slice(format!("{length} {key}=").as_bytes());
        data.extend_from_slice(value);
        data.push(b'\n');
    }
    Member {
        data,
        ..Member::new(b'x', "PaxHeaders")
    }
    .bytes()
}

/// A GNU long name (`L`) or link (`K`).
pub fn gnu_long(kind: u8, text: &[u8]) -> Vec<u8> {
    Member {
        data: [text, b"\0"].concat(),
        ..Member::new(kind, "././@LongLink")
    }
    .bytes()
}

pub fn end() -> Vec<u8> {
    vec![0; 2 * BLOCK]
}

/// An archive of these members, with its end.
pub fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), end()].concat()
}

/// So many bytes, always the same, that no compression makes fewer.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}
