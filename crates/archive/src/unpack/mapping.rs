//! Which part of an archive goes where.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use crate::tar::{Kind, Member, PATH_MAX, TarError};

/// Which part of an archive goes where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// The first component that members' paths must have; it is taken off.
    pub strip: Option<Vec<u8>>,
    /// The component that is put before what is left.
    pub put: Option<Vec<u8>>,
}

impl Mapping {
    /// That of a tree, as [`Packer::requested`](crate::pack::Packer::requested) writes it, whose first member is `first`. `named`: the tree was to have
    /// a name of its own. Its sender may call it anything: it becomes `put`, and nothing else of the stream is made.
    ///
    /// # Errors
    /// The stream begins with something else.
    pub fn tree(first: &Member, named: bool, put: Option<OsString>) -> Result<Self, TarError> {
        let (components, kind) = (components(&first.path), first.kind);
        let strip = match components.as_deref() {
            Some([]) if !named && kind == Kind::Directory => None,
            Some([name]) if named && matches!(kind, Kind::Directory | Kind::File) => {
                Some(name.clone())
            }
            _ => return Err(TarError::Malformed("tree: it is not what was asked for")),
        };
        Ok(Self {
            strip,
            put: put.map(OsString::into_vec),
        })
    }

    /// Where `path` goes; nothing where it leads out, or is of another part.
    pub(super) fn apply(&self, path: &[u8]) -> Option<Vec<Vec<u8>>> {
        let mut components = components(path)?;
        if let Some(strip) = &self.strip {
            if components.first() != Some(strip) {
                return None;
            }
            components.remove(0);
        }
        if let Some(put) = &self.put {
            components.insert(0, put.clone());
        }
        Some(components)
    }
}

/// The components of a member's path; nothing where one leads upwards, or it is too long.
pub fn components(path: &[u8]) -> Option<Vec<Vec<u8>>> {
    if path.len() > PATH_MAX {
        return None;
    }
    let parts = path
        .split(|byte| *byte == b'/')
        .filter(|part| !matches!(*part, b"" | b"."));
    parts
        .map(|part| (part != b"..").then(|| part.to_vec()))
        .collect()
}
