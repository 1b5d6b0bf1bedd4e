//! The announcement of a file: fsutil's `Stat`, whose mode has the bits of Go's `os.FileMode`.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd as _};

use bollard_buildkit_proto::fsutil::types::Stat;
use rustix::fs::{AtFlags, FileType, RawMode};

/// Go's bits of `os.FileMode` for what is no plain file.
mod go {
    pub const DIRECTORY: u32 = 1 << 31;
    pub const SYMLINK: u32 = 1 << 27;
    pub const DEVICE: u32 = 1 << 26;
    pub const FIFO: u32 = 1 << 25;
    pub const SETUID: u32 = 1 << 23;
    pub const SETGID: u32 = 1 << 22;
    pub const CHARACTER_DEVICE: u32 = 1 << 21;
    pub const STICKY: u32 = 1 << 20;
}

/// Bytes of an extended attribute, and of the list of their names: the kernel's own bound.
const XATTR_MAX: usize = 64 << 10;

/// Go's mode of a mode of `stat(2)`. A socket is a plain file, which buildx makes of it, too.
pub fn go_mode(mode: RawMode) -> u32 {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => go::DIRECTORY,
        FileType::Symlink => go::SYMLINK,
        FileType::BlockDevice => go::DEVICE,
        FileType::CharacterDevice => go::DEVICE | go::CHARACTER_DEVICE,
        FileType::Fifo => go::FIFO,
        _ => 0,
    };
    let flag = |bit: RawMode, go: u32| if mode & bit == 0 { 0 } else { go };
    kind | (mode & 0o777)
        | flag(0o4000, go::SETUID)
        | flag(0o2000, go::SETGID)
        | flag(0o1000, go::STICKY)
}

/// Whether the builder may ask for the bytes of a file of this mode.
pub fn has_bytes(go_mode: u32) -> bool {
    go_mode & (go::DIRECTORY | go::SYMLINK | go::DEVICE | go::FIFO) == 0
}

/// The `Stat` of the entry `name` of `directory`, whose path in the context is `path`. All belongs to root, as the users of the host are
/// not the image's.
pub fn tell(
    directory: impl AsFd,
    name: &OsStr,
    path: &str,
    found: &rustix::fs::Stat,
) -> Result<Stat, rustix::io::Errno> {
    let kind = FileType::from_raw_mode(found.st_mode);
    let linkname = if kind == FileType::Symlink {
        let link = rustix::fs::readlinkat(&directory, name, Vec::new())?;
        // A link that leads to no text would lead elsewhere in the image.
        link.into_string().map_err(|_| rustix::io::Errno::ILSEQ)?
    } else {
        String::new()
    };
    let is_directory = kind == FileType::Directory;
    Ok(Stat {
        path: path.to_owned(),
        mode: go_mode(found.st_mode),
        size: if is_directory { 0 } else { found.st_size },
        mod_time: found
            .st_mtime
            .saturating_mul(1_000_000_000)
            .saturating_add(i64::try_from(found.st_mtime_nsec).unwrap_or(0)),
        linkname,
        devmajor: i64::from(rustix::fs::major(found.st_rdev)),
        devminor: i64::from(rustix::fs::minor(found.st_rdev)),
        xattrs: xattrs(directory, name),
        ..Stat::default()
    })
}

/// Attributes that mean something elsewhere, too: capabilities of programs, and those of users. What cannot be read is left out.
fn xattrs(directory: impl AsFd, name: &OsStr) -> HashMap<String, Vec<u8>> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut path = format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name.as_bytes());
    let mut list = vec![0; 0];
    // Mostly there is none, which one call without a buffer says.
    let Ok(length) = rustix::fs::llistxattr(path.as_slice(), &mut list) else {
        return HashMap::new();
    };
    if length == 0 || length > XATTR_MAX {
        return HashMap::new();
    }
    list.resize(length, 0);
    let Ok(length) = rustix::fs::llistxattr(path.as_slice(), &mut list) else {
        return HashMap::new();
    };
    let names = list[..length].split(|byte| *byte == 0);
    let names = names.filter_map(|name| std::str::from_utf8(name).ok());
    let wanted = names.filter(|name| *name == "security.capability" || name.starts_with("user."));
    let mut found = HashMap::new();
    let mut value = vec![0; XATTR_MAX];
    for name in wanted {
        if let Ok(length) = rustix::fs::lgetxattr(path.as_slice(), name, &mut value) {
            found.insert(name.to_owned(), value[..length].to_vec());
        }
    }
    found
}

/// The entry `name` of `directory` itself, without following it.
pub fn look(directory: impl AsFd, name: &OsStr) -> rustix::io::Result<rustix::fs::Stat> {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that Go's `os` prints for these modes.
    #[test]
    fn modes_are_go_s() {
        for (mode, go) in [
            (0o100_644, 0o644),
            (0o104_755, 0x0080_0000 | 0o755),
            (0o102_755, 0x0040_0000 | 0o755),
            (0o041_777, 0x8010_0000 | 0o777),
            (0o040_755, 0x8000_0000 | 0o755),
            (0o120_777, 0x0800_0000 | 0o777),
            (0o010_600, 0x0200_0000 | 0o600),
            (0o060_660, 0x0400_0000 | 0o660),
            (0o020_666, 0x0420_0000 | 0o666),
            (0o140_755, 0o755),
        ] {
            assert_eq!(go_mode(mode), go, "{mode:o}");
            let is_plain = matches!(mode >> 12, 0o10 | 0o14);
            assert_eq!(has_bytes(go), is_plain, "{mode:o}");
        }
    }

    #[test]
    fn all_belongs_to_root() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("../x", directory.path().join("link")).unwrap();
        let opened = std::fs::File::open(directory.path()).unwrap();
        let name = OsStr::new("link");
        let found = look(&opened, name).unwrap();
        let told = tell(&opened, name, "a/link", &found).unwrap();
        assert_eq!((told.uid, told.gid), (0, 0));
        assert_eq!(
            (told.path.as_str(), told.linkname.as_str()),
            ("a/link", "../x")
        );
    }
}
