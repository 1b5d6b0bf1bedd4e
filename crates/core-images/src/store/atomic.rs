//! Files that are complete or not there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const PREFIX: &str = ".writing-";

/// A file being written beside its destination; removed when it is dropped unfinished.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    /// Creates an empty file in `directory`, mode 0600.
    pub fn create(directory: &Path) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = directory.join(format!("{PREFIX}{}", uuid::Uuid::new_v4()));
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self { path, file })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Makes the file read-only for every process, this one included.
    pub fn close_for_writing(&mut self) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        self.file
            .set_permissions(fs::Permissions::from_mode(0o444))?;
        self.file.sync_all()?;
        self.file = File::open(&self.path)?;
        Ok(())
    }

    /// Syncs the file and gives it its name, in place of what has it.
    pub fn publish(self, destination: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        take_place(&self.path, destination)?;
        sync_parent(destination)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Gone when it was published.
        let _ = fs::remove_file(&self.path);
    }
}

/// Gives the file `from` the name `to`, in place of what has it: a directory of that name is nothing of ours.
pub(super) fn take_place(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            fs::remove_dir_all(to)?;
            fs::rename(from, to)
        }
        renamed => renamed,
    }
}

/// Makes the names in a path's directory last.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Replaces a small file.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = Temporary::create(directory)?;
    temporary.file().write_all(content)?;
    temporary.publish(path)
}

/// As [`write`], of what may be lost with the host's power: it is the old, the new, or damaged then.
pub fn write_unsynced(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = Temporary::create(directory)?;
    temporary.file().write_all(content)?;
    take_place(&temporary.path, path)
}

/// Whether [`Temporary`] made a file of that name.
pub(super) fn is_temporary(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_takes_its_place_from_whatever_has_it() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("layer");
        fs::create_dir_all(path.join("inside")).unwrap();
        write(&path, b"one").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        write_unsynced(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    }
}
