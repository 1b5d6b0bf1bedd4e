//! Extended attributes, stored behind their inode.
//!
//! The area is a 12-byte header and the entries: name length, prefix index, value size, the name without
//! its prefix, the value; each padded to 4 bytes.

use std::collections::BTreeMap;

use crate::format::{get_u16, put};

/// Most bytes that one inode's attributes may take on disk, header and padding included.
pub const MAX_XATTR_BYTES: usize = 64 * 1024;

const HEADER: usize = 12;
const ENTRY_HEADER: usize = 4;

/// `EROFS_XATTR_INDEX_…`; the two ACL names are whole names.
const PREFIXES: [(u8, &[u8]); 5] = [
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
];

/// The extended attributes of one inode, by full name. What is in here can be stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Xattrs(BTreeMap<Box<[u8]>, Box<[u8]>>);

/// Why an attribute cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XattrError {
    /// Its namespace is none of user, trusted, security and POSIX ACL, or its name is empty or over 255 bytes.
    #[error("the name of the extended attribute cannot be stored")]
    Name,
    /// The value or all attributes together are too large.
    #[error("the extended attributes take more than {MAX_XATTR_BYTES} bytes")]
    TooLarge,
}

impl Xattrs {
    /// Whether an attribute of that name can be stored: its namespace is user, trusted, security or a POSIX
    /// ACL, and its name fits.
    pub fn is_storable(name: &[u8]) -> bool {
        split(name).is_some()
    }

    /// Sets the attribute `name` (with its namespace: `user.x`) to `value`.
    pub fn insert(&mut self, name: &[u8], value: &[u8]) -> Result<(), XattrError> {
        split(name).ok_or(XattrError::Name)?;
        let replaced = self.0.get(name).map_or(0, |old| entry_len(name, old.len()));
        let total = self.area_len().max(HEADER) - replaced + entry_len(name, value.len());
        if total > MAX_XATTR_BYTES || u16::try_from(value.len()).is_err() {
            return Err(XattrError::TooLarge);
        }
        self.0.insert(name.into(), value.into());
        Ok(())
    }

    /// The value of `name`.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.get(name).map(AsRef::as_ref)
    }

    /// Removes `name` and tells whether it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.0.remove(name).is_some()
    }

    /// All attributes, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of the stored area: 0 without attributes.
    pub(crate) fn area_len(&self) -> usize {
        if self.0.is_empty() {
            return 0;
        }
        HEADER
            + self
                .0
                .iter()
                .map(|(name, value)| entry_len(name, value.len()))
                .sum::<usize>()
    }

    /// `i_xattr_icount` for an area of `len` bytes.
    pub(crate) fn count_of(len: usize) -> u16 {
        let units = if len == 0 { 0 } else { (len - HEADER) / 4 + 1 };
        // `MAX_XATTR_BYTES / 4` fits.
        u16::try_from(units).unwrap_or(u16::MAX)
    }

    /// Bytes of the area that `i_xattr_icount` describes.
    pub(crate) fn len_of(count: u16) -> usize {
        if count == 0 {
            0
        } else {
            HEADER + 4 * (usize::from(count) - 1)
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        if self.0.is_empty() {
            return;
        }
        out.resize(out.len() + HEADER, 0);
        for (name, value) in &self.0 {
            let Some((index, suffix)) = split(name) else {
                continue;
            };
            let mut header = [0; ENTRY_HEADER];
            header[0] = u8::try_from(suffix.len()).unwrap_or(u8::MAX);
            header[1] = index;
            put(
                &mut header,
                2,
                &u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes(),
            );
            let end = out.len() + entry_len(name, value.len());
            out.extend_from_slice(&header);
            out.extend_from_slice(suffix);
            out.extend_from_slice(value);
            out.resize(end, 0);
        }
    }

    /// Reads a stored area. The error names what is wrong.
    pub(crate) fn parse(area: &[u8]) -> Result<Self, &'static str> {
        let mut xattrs = Self::default();
        if area.is_empty() {
            return Ok(xattrs);
        }
        if area.len() < HEADER || area[4] != 0 {
            return Err("an inode has shared extended attributes");
        }
        let mut rest = &area[HEADER..];
        while !rest.is_empty() {
            const CUT: &str = "an extended attribute is cut off";
            let (header, body) = rest.split_at_checked(ENTRY_HEADER).ok_or(CUT)?;
            let (suffix, body) = body.split_at_checked(usize::from(header[0])).ok_or(CUT)?;
            let (value, _) = body
                .split_at_checked(usize::from(get_u16(header, 2)))
                .ok_or(CUT)?;
            let prefix = PREFIXES
                .iter()
                .find(|(index, _)| *index == header[1])
                .ok_or("an extended attribute has an unknown namespace")?;
            let name = [prefix.1, suffix].concat();
            if xattrs.get(&name).is_some() {
                return Err("an extended attribute occurs twice");
            }
            xattrs
                .insert(&name, value)
                .map_err(|_| "an extended attribute is out of bounds")?;
            rest = rest.get(entry_len(&name, value.len())..).ok_or(CUT)?;
        }
        Ok(xattrs)
    }
}

/// The prefix index of `name` and what is stored of the name.
fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    PREFIXES.iter().find_map(|(index, prefix)| {
        let suffix = name.strip_prefix(*prefix)?;
        let whole_name = !prefix.ends_with(b".");
        (suffix.is_empty() == whole_name && suffix.len() <= 255 && !suffix.contains(&0))
            .then_some((*index, suffix))
    })
}

fn entry_len(name: &[u8], value: usize) -> usize {
    let suffix = split(name).map_or(0, |(_, suffix)| suffix.len());
    (ENTRY_HEADER + suffix + value).next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_that_can_be_stored() {
        let mut xattrs = Xattrs::default();
        for name in [
            "user.a",
            "trusted.b",
            "security.capability",
            "system.posix_acl_access",
        ] {
            xattrs.insert(name.as_bytes(), b"value").unwrap();
        }
        for name in [
            "user.",
            "system.nfs4_acl",
            "system.posix_acl_access.x",
            "plain",
            "",
        ] {
            assert_eq!(
                xattrs.insert(name.as_bytes(), b""),
                Err(XattrError::Name),
                "{name}"
            );
        }
        let mut area = Vec::new();
        xattrs.encode(&mut area);
        assert_eq!(area.len(), xattrs.area_len());
        assert_eq!(Xattrs::len_of(Xattrs::count_of(area.len())), area.len());
        assert_eq!(Xattrs::parse(&area), Ok(xattrs));
    }

    #[test]
    fn the_limit_counts_all_attributes() {
        let mut xattrs = Xattrs::default();
        xattrs.insert(b"user.a", &vec![0; 40_000]).unwrap();
        assert_eq!(
            xattrs.insert(b"user.b", &vec![0; 40_000]),
            Err(XattrError::TooLarge)
        );
        xattrs.insert(b"user.a", &vec![0; 65_000]).unwrap();
    }
}
