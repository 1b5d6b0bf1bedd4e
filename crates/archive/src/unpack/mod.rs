//! The members of a tar, made beneath a directory.
//!
//! They come from a guest, or from the maker of an archive. So a path that an archive names is looked up beneath the directory only, and
//! never through a link (`openat2(2)`): what would lead elsewhere is left out. Links lead only in an archive that may write everywhere
//! anyway: one that is unpacked in the container's own root.
mod attributes;
mod file;
mod mapping;
#[cfg(test)]
mod tests;
mod tree;

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::tar::{Member, PATH_MAX, Reader, TarError};
pub use mapping::{Mapping, components};
use tree::Tree;

/// Whether links lead on the way to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// As everywhere, but for those of `/proc` that lead to no path: the process's root is the bound.
    Follow,
    /// A member whose path leads through one is left out.
    Refuse,
}

/// Whom files are to belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// Those of the archive, as far as this process may give files away.
    Keep,
    /// This user and group.
    All(u32, u32),
    /// The user of this process.
    Own,
}

/// How members are made. The default is what a stranger's archive may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// On the way to them.
    pub links: Links,
    /// Whom they belong to.
    pub owners: Owners,
    /// Set-id bits and file capabilities are made, too.
    pub privileges: bool,
    /// Devices and FIFOs are made, too; left out otherwise.
    pub special: bool,
    /// A member `./` tells what the directory itself is to be like.
    pub top: bool,
    /// Small files of directories that this very unpacking makes are written in their places, which spares the file system two changes for
    /// each. They have been read before, so one that the stream has only a part of is not made. Such a directory has mode 0700 until all
    /// is made. All other files are whole or not there.
    pub in_place: bool,
    /// Blocks of zeroes become holes: what is read is from a file system that does not tell of its own.
    pub holes: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            links: Links::Refuse,
            owners: Owners::Own,
            privileges: false,
            special: false,
            top: false,
            in_place: false,
            holes: false,
        }
    }
}

/// Why a tree is not made.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The stream.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// A file or directory.
    #[error("cannot make {}", .path.display())]
    Make {
        /// Its path below the directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl UnpackError {
    /// The stream ended too early, perhaps in the middle of a file: what sends it has a better reason.
    pub fn is_cut(&self) -> bool {
        match self {
            Self::Tar(error) => matches!(error, TarError::Truncated),
            Self::Make { source, .. } => {
                matches!(source.get_ref(), Some(inner) if inner.is::<TarError>())
            }
        }
    }
}

/// Makes what `reader` reads in `directory`, beginning with the member `first` if one has been read already. Gives the number of
/// members that were left out, because they would lead elsewhere or are devices.
///
/// # Errors
/// The first member that cannot be made, and those of the stream.
pub fn unpack<R: Read>(
    reader: &mut Reader<R>,
    first: Option<Member>,
    directory: OwnedFd,
    mapping: &Mapping,
    rules: Rules,
) -> Result<u64, UnpackError> {
    let mut tree = Tree::new(directory, rules);
    let made = members(&mut tree, reader, first, mapping);
    let settled = tree.settle();
    // What there is of a tree that was not made whole is left to whoever may enter it. The first error is the one to tell.
    let left_out = made?;
    settled?;
    Ok(left_out)
}

fn members<R: Read>(
    tree: &mut Tree,
    reader: &mut Reader<R>,
    first: Option<Member>,
    mapping: &Mapping,
) -> Result<u64, UnpackError> {
    let mut left_out = 0;
    // Without its root a tree is nothing.
    if let Some(root) = first {
        let path = mapping.apply(&root.path);
        let path = path.ok_or(TarError::Malformed("path of the first member"))?;
        if !tree.member(&path, &root, mapping, reader)? {
            return Err(UnpackError::Make {
                path: shown(&path),
                source: Errno::LOOP.into(),
            });
        }
    }
    let mut next = reader.next_member()?;
    while let Some(member) = next {
        if member.path.len() > PATH_MAX {
            // Not left out: it is a file like any other, and would be missing without a word.
            return Err(UnpackError::Make {
                path: shown(&[member.path]),
                source: Errno::NAMETOOLONG.into(),
            });
        }
        let made = match mapping.apply(&member.path) {
            Some(path) => tree.member(&path, &member, mapping, reader)?,
            None => false,
        };
        left_out += u64::from(!made);
        next = reader.next_member()?;
    }
    Ok(left_out)
}

/// Bytes of a path's begin, and of its end, that are shown of a long one.
const SHOWN: usize = 100;

/// A path as errors show it.
fn shown(path: &[Vec<u8>]) -> PathBuf {
    let whole = path.join(&b'/');
    match whole.get(..SHOWN) {
        Some(begin) if whole.len() > 2 * SHOWN => {
            let end = &whole[whole.len() - SHOWN..];
            OsString::from_vec([begin, "…".as_bytes(), end].concat()).into()
        }
        _ => OsString::from_vec(whole).into(),
    }
}
