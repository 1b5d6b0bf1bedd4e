use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::failure::Failure;

/// The file of `--cidfile`: reserved before the container is made, removed again unless it was.
#[derive(Debug)]
pub struct IdFile {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl IdFile {
    /// Creates the file, which must not exist. Nothing, where none is wanted.
    pub fn reserve(path: Option<&Path>) -> Result<Option<Self>, Failure> {
        let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else {
            return Ok(None);
        };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(path)
            .with_context(|| format!("--cidfile {}", path.display()))?;
        Ok(Some(Self {
            path: path.to_owned(),
            file,
            kept: false,
        }))
    }

    /// Writes the id, without a newline.
    pub fn write(&mut self, id: &str) -> Result<(), Failure> {
        let written = self.file.write_all(id.as_bytes());
        Ok(written.with_context(|| format!("--cidfile {}", self.path.display()))?)
    }

    /// Leaves the file where it is.
    pub fn keep(file: Option<Self>) {
        if let Some(mut file) = file {
            file.kept = true;
        }
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if !self.kept {
            // Whatever failed before is told; a file that stays is refused the next time.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_file_appears_with_the_container_only() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("id");
        drop(IdFile::reserve(Some(&path)).unwrap());
        assert!(!path.exists());
        let mut file = IdFile::reserve(Some(&path)).unwrap();
        assert!(IdFile::reserve(Some(&path)).is_err());
        file.as_mut().unwrap().write("abc").unwrap();
        IdFile::keep(file);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "abc");
        assert!(IdFile::reserve(Some(&path)).is_err());
    }
}
