//! Extended headers: records `length key=value\n`.

use super::TarError;
use super::sparse::Run;

/// What the records of one extended header say of the next member.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<(i64, u32)>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: Sparse,
}

/// The records of GNU's sparse formats 0.0, 0.1 and 1.0.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    pub name: Option<Vec<u8>>,
    pub real_size: Option<u64>,
    /// Format 1.0: the map stands at the start of the member's data.
    pub map_in_data: bool,
    pub runs: Option<Vec<Run>>,
    pending_offset: Option<u64>,
}

/// Before the name of an extended attribute.
const XATTR: &[u8] = b"SCHILY.xattr.";
/// What stands in such a name for a sign that would end the key, and for the one that begins this: as GNU tar writes and reads it.
const ESCAPES: [(&[u8], u8); 2] = [(b"%3D", b'='), (b"%25", b'%')];

/// The key of the attribute `name`.
pub(super) fn xattr_key(name: &[u8]) -> Vec<u8> {
    let mut key = XATTR.to_vec();
    for byte in name {
        match ESCAPES.iter().find(|(_, plain)| plain == byte) {
            Some((escape, _)) => key.extend_from_slice(escape),
            None => key.push(*byte),
        }
    }
    key
}

fn decoded(mut name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    while let Some((first, rest)) = name.split_first() {
        let found = ESCAPES.iter().find(|(escape, _)| name.starts_with(escape));
        if let Some((escape, byte)) = found {
            plain.push(*byte);
            name = &name[escape.len()..];
        } else {
            plain.push(*first);
            name = rest;
        }
    }
    plain
}

impl Pax {
    pub(super) fn parse(mut records: &[u8]) -> Result<Self, TarError> {
        let mut pax = Self::default();
        while !records.is_empty() {
            let (record, rest) = split_record(records).ok_or(BAD)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(BAD)?;
            pax.set(&record[..equals], &record[equals + 1..])?;
            records = rest;
        }
        Ok(pax)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        match key {
            b"path" => self.path = text(value)?,
            b"linkpath" => self.link = text(value)?,
            b"size" => self.size = number(value)?,
            b"uid" => self.uid = number(value)?,
            b"gid" => self.gid = number(value)?,
            b"mtime" => {
                self.mtime = if value.is_empty() {
                    None
                } else {
                    Some(time(value)?)
                }
            }
            b"GNU.sparse.name" => self.sparse.name = text(value)?,
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => self.sparse.real_size = number(value)?,
            b"GNU.sparse.major" => self.sparse.map_in_data = value == b"1",
            b"GNU.sparse.map" => self.sparse.runs = Some(sparse_map(value)?),
            b"GNU.sparse.offset" => self.sparse.pending_offset = number(value)?,
            b"GNU.sparse.numbytes" => {
                let offset = self.sparse.pending_offset.take().ok_or(BAD_MAP)?;
                let length = number(value)?.ok_or(BAD_MAP)?;
                self.sparse
                    .runs
                    .get_or_insert_default()
                    .push(Run { offset, length });
            }
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    if name.is_empty() || name.contains(&0) {
                        return Err(BAD);
                    }
                    self.xattrs.push((decoded(name), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

const BAD: TarError = TarError::Malformed("extended header");
const BAD_MAP: TarError = TarError::Malformed("sparse map");

/// One record's `key=value` and what follows it.
fn split_record(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = records.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(&records[..space]).ok()??).ok()?;
    let (record, rest) = records.split_at_checked(length)?;
    let body = record.get(space + 1..)?.strip_suffix(b"\n")?;
    Some((body, rest))
}

/// A path; empty means that the header's own holds.
fn text(value: &[u8]) -> Result<Option<Vec<u8>>, TarError> {
    if value.contains(&0) {
        return Err(BAD);
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

/// Decimal digits; empty means that the header's own number holds.
fn number(value: &[u8]) -> Result<Option<u64>, TarError> {
    if value.is_empty() {
        return Ok(None);
    }
    decimal(value).map(Some).ok_or(BAD)
}

pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Seconds with an optional fraction, possibly negative; digits beyond nanoseconds are cut.
fn time(value: &[u8]) -> Result<(i64, u32), TarError> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut halves = value.splitn(2, |byte| *byte == b'.');
    let whole = halves
        .next()
        .and_then(decimal)
        .and_then(|seconds| i64::try_from(seconds).ok());
    let seconds = whole.ok_or(BAD)?;
    let mut nanoseconds = 0;
    for (index, digit) in halves.next().unwrap_or_default().iter().enumerate() {
        if !digit.is_ascii_digit() {
            return Err(BAD);
        }
        if index < 9 {
            nanoseconds +=
                u32::from(digit - b'0') * 10_u32.pow(8 - u32::try_from(index).unwrap_or(8));
        }
    }
    Ok(match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

/// Format 0.1: `offset,length,offset,length…`
fn sparse_map(value: &[u8]) -> Result<Vec<Run>, TarError> {
    let numbers: Option<Vec<u64>> = value.split(|byte| *byte == b',').map(decimal).collect();
    let numbers = numbers
        .filter(|numbers| numbers.len() % 2 == 0)
        .ok_or(BAD_MAP)?;
    Ok(numbers
        .chunks(2)
        .map(|pair| Run {
            offset: pair[0],
            length: pair[1],
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &str) -> Vec<u8> {
        let body = key.len() + value.len() + 3;
        let mut length = body + body.to_string().len();
        if length.to_string().len() > body.to_string().len() {
            length += 1;
        }
        format!("{length} {key}={value}\n").into_bytes()
    }

    #[test]
    fn records_are_read_and_the_last_one_wins() {
        let records = [
            record("path", "a"),
            record("path", "b"),
            record("size", "9"),
        ]
        .concat();
        let pax = Pax::parse(&records).unwrap();
        assert_eq!(pax.path.as_deref(), Some(b"b".as_slice()));
        assert_eq!(pax.size, Some(9));
    }

    #[test]
    fn malformed_records_are_refused() {
        for records in [
            "x",
            "5 a=b",
            "99 path=a\n",
            "0 path=a\n",
            "10 path=a\0\n",
            "9 size=-1\n",
            "7 path\n",
            "-5 a=b\n",
        ] {
            assert!(Pax::parse(records.as_bytes()).is_err(), "{records:?}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(time(b"12.5").unwrap(), (12, 500_000_000));
        assert_eq!(time(b"-1.25").unwrap(), (-2, 750_000_000));
        assert_eq!(time(b"-7").unwrap(), (-7, 0));
        assert_eq!(time(b"1.1234567899").unwrap(), (1, 123_456_789));
        for bad in ["", ".5", "1.x", "--1", "99999999999999999999"] {
            assert!(time(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
