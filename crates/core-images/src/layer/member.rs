//! What a tar member means in a layer (image-spec, `layer.md`).

use erofs::{Device, Kind, Metadata, Timestamp, Tree, TreeError, Xattrs};

use container_archive::tar;

/// What a member's path says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A file of the layer.
    Entry(Vec<u8>),
    /// `.wh.<name>`: the named file of lower layers is deleted.
    Whiteout(Vec<u8>),
    /// `.wh..wh..opq`: everything in this directory of lower layers is deleted.
    Opaque(Vec<u8>),
    /// Bookkeeping of AUFS, which means nothing here.
    Ignored,
}

/// A path that a layer cannot have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It has a part `..`.
    #[error("the path leads upwards")]
    Parent,
    /// `.wh.` alone, or before `.` or `..`.
    #[error("the whiteout names no file")]
    Whiteout,
}

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const AUFS: &[u8] = b".wh..wh.";

impl Meaning {
    pub(super) fn of(path: &[u8]) -> Result<Self, PathError> {
        if path.split(|byte| *byte == b'/').any(|part| part == b"..") {
            return Err(PathError::Parent);
        }
        let trimmed = path.len() - path.iter().rev().take_while(|byte| **byte == b'/').count();
        let path = &path[..trimmed];
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (directory, name) = path.split_at(slash.map_or(0, |slash| slash + 1));
        if name == OPAQUE {
            return Ok(Self::Opaque(directory.to_vec()));
        }
        if name.starts_with(AUFS) {
            return Ok(Self::Ignored);
        }
        match name.strip_prefix(WHITEOUT) {
            None => Ok(Self::Entry(path.to_vec())),
            Some(b"" | b"." | b"..") => Err(PathError::Whiteout),
            Some(deleted) => Ok(Self::Whiteout([directory, deleted].concat())),
        }
    }
}

/// Owner, mode, time and attributes. Attributes that would be taken for marks of overlayfs or of this
/// program are left out, and so are namespaces that EROFS has no room for.
pub(super) fn metadata(member: &tar::Member) -> Result<Metadata, TreeError> {
    let mut xattrs = Xattrs::default();
    for (name, value) in &member.xattrs {
        let is_mark =
            name.starts_with(b"trusted.overlay.") || name.starts_with(b"trusted.container.");
        if !is_mark && Xattrs::is_storable(name) {
            xattrs.insert(name, value)?;
        }
    }
    // A symbolic link has no permissions of its own (symlink(7)); tar archives say this and that.
    let permissions = match member.kind {
        tar::Kind::Symlink => 0o777,
        _ => member.permissions,
    };
    Ok(Metadata {
        permissions,
        uid: member.uid,
        gid: member.gid,
        mtime: Timestamp {
            seconds: member.mtime.0,
            nanoseconds: member.mtime.1,
        },
        xattrs,
    })
}

/// Enters a member that has no data of its own.
pub(super) fn enter(tree: &mut Tree, path: &[u8], member: &tar::Member) -> Result<(), EnterError> {
    let metadata = metadata(member)?;
    let device = || device(member.device).ok_or(EnterError::Device);
    let kind = match member.kind {
        tar::Kind::Directory => {
            tree.insert_directory(path, metadata)?;
            return Ok(());
        }
        tar::Kind::HardLink => {
            tree.insert_link(path, &member.link)?;
            return Ok(());
        }
        // Overlayfs's own way to write a whiteout. One that is content of a nested container store cannot be kept: it would be taken for a
        // whiteout by the guest's overlayfs as well.
        tar::Kind::Character if member.device == (0, 0) => {
            tree.insert_whiteout(path)?;
            return Ok(());
        }
        tar::Kind::Symlink => Kind::Symlink(member.link.as_slice().into()),
        tar::Kind::Character => Kind::Character(device()?),
        tar::Kind::Block => Kind::Block(device()?),
        tar::Kind::Fifo => Kind::Fifo,
        tar::Kind::File => return Err(EnterError::Data),
    };
    tree.insert(path, metadata, kind)?;
    Ok(())
}

fn device((major, minor): (u64, u64)) -> Option<Device> {
    Device::new(u32::try_from(major).ok()?, u32::try_from(minor).ok()?)
}

/// Why a member does not become a file.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// A name, a link or a limit.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Major above 4095 or minor above 1048575.
    #[error("the device number is out of range")]
    Device,
    /// Regular files are entered with their data.
    #[error("a regular file needs its data")]
    Data,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meanings() {
        let entry = |path: &str| Ok(Meaning::Entry(path.into()));
        let whiteout = |path: &str| Ok(Meaning::Whiteout(path.into()));
        let opaque = |path: &str| Ok(Meaning::Opaque(path.into()));
        for (path, meaning) in [
            ("a/b", entry("a/b")),
            ("a/b//", entry("a/b")),
            ("./", entry(".")),
            ("/etc/x", entry("/etc/x")),
            ("a/..b", entry("a/..b")),
            ("../x", Err(PathError::Parent)),
            ("a/../x", Err(PathError::Parent)),
            ("a/..", Err(PathError::Parent)),
            ("a/.wh.b", whiteout("a/b")),
            (".wh.b", whiteout("b")),
            (".wh.", Err(PathError::Whiteout)),
            (".wh..", Err(PathError::Whiteout)),
            (".wh...", Err(PathError::Whiteout)),
            (".wh..wh.", Ok(Meaning::Ignored)),
            (".wh..wh.plnk", Ok(Meaning::Ignored)),
            (".wh..wh..opq", opaque("")),
            ("//a///.wh..wh..opq", opaque("//a///")),
        ] {
            assert_eq!(Meaning::of(path.as_bytes()), meaning, "{path}");
        }
    }
}
