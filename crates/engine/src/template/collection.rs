//! The templates of a directory: each in a directory of its own, named by its key.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{DESCRIPTION, MEMORY, STATE};

/// A saving that was interrupted leaves a directory that is removed when it is as old as this.
const ABANDONED: Duration = Duration::from_secs(600);

/// A template, as it lies on disk. Nothing says that it is sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTemplate {
    /// Its key: see [`crate::Engine::template_key`].
    pub key: String,
    /// Where it is.
    pub directory: PathBuf,
    /// Disk space that it takes, in bytes.
    pub size: u64,
    /// When a machine was last started from it, or when it was made.
    pub used: SystemTime,
}

/// The templates in `root`, the latest used first. A directory that does not exist has none.
pub fn list(root: &Path) -> io::Result<Vec<StoredTemplate>> {
    let mut found = Vec::new();
    for directory in directories(root)? {
        if directory.join(DESCRIPTION).exists() && !is_temporary(&directory) {
            // What is removed meanwhile by somebody else is not there any more.
            found.extend(describe(directory).ok());
        }
    }
    found.sort_by_key(|template| std::cmp::Reverse(template.used));
    Ok(found)
}

/// Removes all but the `keep` latest used templates from `root`, and what interrupted savings left
/// behind. Machines that run from them are not disturbed. Returns what was removed.
pub fn prune(root: &Path, keep: usize) -> io::Result<Vec<StoredTemplate>> {
    for directory in directories(root)?
        .into_iter()
        .filter(|path| is_temporary(path))
    {
        let age = directory.metadata().and_then(|found| found.modified());
        if age.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > ABANDONED)) {
            std::fs::remove_dir_all(&directory)?;
        }
    }
    let mut removed = list(root)?;
    removed.drain(..keep.min(removed.len()));
    for template in &removed {
        std::fs::remove_dir_all(&template.directory)?;
    }
    Ok(removed)
}

/// Notes that a machine is started from the template in `directory`.
pub(super) fn note_use(directory: &Path) -> io::Result<()> {
    File::open(directory)?.set_modified(SystemTime::now())
}

fn directories(root: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(root) {
        Ok(entries) => {
            let paths = entries.map(|entry| entry.map(|entry| entry.path()));
            paths
                .filter(|path| path.as_ref().map_or(true, |path| path.is_dir()))
                .collect()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn is_temporary(directory: &Path) -> bool {
    directory
        .extension()
        .is_some_and(|extension| extension == "tmp")
}

fn describe(directory: PathBuf) -> io::Result<StoredTemplate> {
    let used = directory.metadata()?.modified()?;
    let mut size = 0;
    for name in [MEMORY, STATE, DESCRIPTION] {
        // Sparse: the blocks count, which are always of 512 bytes.
        size += directory
            .join(name)
            .metadata()
            .map_or(0, |file| file.blocks() * 512);
    }
    let key = directory
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Ok(StoredTemplate {
        key,
        directory,
        size,
        used,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(root: &Path, name: &str, age: u64) -> PathBuf {
        let directory = root.join(name);
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join(DESCRIPTION), "{}").unwrap();
        std::fs::write(directory.join(MEMORY), vec![1; 8192]).unwrap();
        let time = SystemTime::now() - Duration::from_secs(age);
        File::open(&directory).unwrap().set_modified(time).unwrap();
        directory
    }

    fn keys(found: &[StoredTemplate]) -> Vec<&str> {
        found.iter().map(|template| template.key.as_str()).collect()
    }

    #[test]
    fn the_latest_used_are_listed_first_and_kept() {
        let root = tempfile::tempdir().unwrap();
        let oldest = make(root.path(), "a", 300);
        make(root.path(), "b", 200);
        make(root.path(), "c", 100);
        let saving = make(root.path(), "d.1.tmp", 10);
        let abandoned = make(root.path(), "e.2.tmp", 10_000);
        std::fs::write(root.path().join("file"), "").unwrap();
        let found = list(root.path()).unwrap();
        assert_eq!(keys(&found), ["c", "b", "a"]);
        assert!(found[0].size >= 8192);
        note_use(&oldest).unwrap();
        assert_eq!(keys(&prune(root.path(), 2).unwrap()), ["b"]);
        assert_eq!(keys(&list(root.path()).unwrap()), ["a", "c"]);
        assert!(saving.exists() && !abandoned.exists());
        assert_eq!(prune(root.path(), 0).unwrap().len(), 2);
        assert!(list(&root.path().join("missing")).unwrap().is_empty());
    }
}
