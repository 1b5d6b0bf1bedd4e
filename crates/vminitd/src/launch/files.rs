//! Files that the host writes into the root before the process starts.

use std::fs;
use std::io::Write;
use std::path::Path;

use container_api::guest::File;
use rustix::fs::{FileType, Mode, OFlags, fchmod, fstat, ftruncate, open, symlink, unlink};
use rustix::io::Errno;

use super::failure::{Context, Failure};

/// Bytes of the path that a symbolic link may lead to (`PATH_MAX`).
const TARGET_MAX: usize = 4096;

/// Writes `file` below the root of the calling process, which symbolic links cannot leave: it is the
/// container's. Links are followed, because images point /etc/resolv.conf to where they want it.
pub fn write(file: &File) -> Result<(), Failure> {
    let path = Path::new("/").join(file.path.trim_start_matches('/'));
    let step = || format!("cannot write {}", path.display());
    if file.keep && fs::symlink_metadata(&path).is_ok() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).context(step)?;
    }
    if file.link {
        return link(&path, &file.data).context(step);
    }
    let mode = Mode::from_raw_mode(file.mode & 0o7777);
    // A FIFO would block without NONBLOCK, and a device is not what was meant.
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = open(&path, flags, mode).and_then(|file| {
        let found = fstat(&file)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(Errno::NXIO);
        }
        // ext4 writes a file out when it is closed after having been cut, even if there was nothing to cut
        // (`auto_da_alloc`).
        if found.st_size > 0 {
            ftruncate(&file, 0)?;
        }
        Ok(file)
    });
    let target = match opened {
        // A FIFO, a device, a socket, a link to nowhere: the file replaces it.
        Err(Errno::NXIO | Errno::NOENT | Errno::NODEV) => {
            unlink(&path).context(step)?;
            open(&path, flags | OFlags::EXCL, mode).context(step)?
        }
        opened => opened.context(step)?,
    };
    fchmod(&target, mode).context(step)?;
    fs::File::from(target).write_all(&file.data).context(step)
}

/// Makes a symbolic link in place of any other file.
fn link(path: &Path, target: &[u8]) -> rustix::io::Result<()> {
    if target.len() > TARGET_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    match unlink(path) {
        Ok(()) | Err(Errno::NOENT) => symlink(target, path),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn file(path: &Path, data: &'static [u8]) -> File {
        File {
            path: path.to_str().unwrap().to_owned(),
            data: data.into(),
            mode: 0o640,
            ..File::default()
        }
    }

    fn write_to(path: &Path, data: &'static [u8]) {
        write(&file(path, data)).unwrap();
    }

    #[test]
    fn what_is_to_be_kept_is_kept_and_links_are_links() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        symlink("/nonexistent", &path).unwrap();
        let kept = File {
            keep: true,
            ..file(&path, b"new")
        };
        write(&kept).unwrap();
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("/nonexistent"));
        let link = File {
            link: true,
            ..file(&path, b"/proc/mounts")
        };
        write(&link).unwrap();
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("/proc/mounts"));
    }

    #[test]
    fn parents_are_made_and_old_content_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("etc/deep/hosts");
        write_to(&path, b"a long first content");
        write_to(&path, b"short");
        assert_eq!(fs::read(&path).unwrap(), b"short");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o640
        );
    }

    #[test]
    fn what_is_no_file_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        let dangling = directory.path().join("dangling");
        symlink("/nonexistent/directory/file", &dangling).unwrap();
        let link = directory.path().join("link");
        symlink("target", &link).unwrap();
        for path in [&fifo, &dangling, &link] {
            write_to(path, b"data");
            assert_eq!(fs::read(path).unwrap(), b"data");
        }
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::symlink_metadata(&dangling).unwrap().is_file());
    }
}
