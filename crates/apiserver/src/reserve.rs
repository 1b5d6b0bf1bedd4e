//! What is kept free on the host's file system: new containers do not take the last of it from those that run.

use std::io;
use std::path::PathBuf;

use container_api::{Error, Kind};
use container_files::free_at;

/// What a start writes before its machine runs, in bytes, whatever the reserve: with less, it would fail half-way, and could not
/// even say so on the disk.
const LEAST: u64 = 64 << 10;

/// Of the reserve, bytes that keep what exists from being started: as long as there is a little room, what is in a container can be
/// deleted there, and its space comes back.
const FOR_WHAT_EXISTS: u64 = 16 << 20;

/// The reserve of the file system that holds containers.
#[derive(Clone, Debug)]
pub struct Reserve {
    directory: PathBuf,
    bytes: u64,
}

impl Reserve {
    /// Keeps `bytes` free on the file system of `directory`.
    pub fn new(directory: PathBuf, bytes: u64) -> Self {
        Self { directory, bytes }
    }

    /// Whether `bytes` can be written without the reserve.
    ///
    /// # Errors
    /// [`Kind::Exhausted`] when they cannot.
    pub fn check_for(&self, bytes: u64) -> Result<(), Error> {
        match free_at(&self.directory) {
            Ok(Some(free)) if free < self.bytes.saturating_add(bytes) => {
                let context = format!("write {} MiB", bytes >> 20);
                Err(self.refusal(free).context(context))
            }
            _ => self.check(),
        }
    }

    /// Whether something new may be made.
    ///
    /// # Errors
    /// [`Kind::Exhausted`] when less than the reserve is left.
    pub fn check(&self) -> Result<(), Error> {
        self.keep(self.bytes)
    }

    /// Whether a machine may be started for what exists.
    ///
    /// # Errors
    /// [`Kind::Exhausted`] when less is left than it needs to free space.
    pub fn check_start(&self) -> Result<(), Error> {
        self.keep(self.bytes.min(FOR_WHAT_EXISTS))
    }

    fn keep(&self, bytes: u64) -> Result<(), Error> {
        match free_at(&self.directory) {
            Ok(Some(free)) if free < bytes => Err(self.refusal(free)),
            Ok(Some(free)) if free < LEAST => {
                let full = io::Error::from(rustix::io::Errno::NOSPC);
                let text = format!("write to {}", self.directory.display());
                Err(Error::caused(Kind::Exhausted, full).context(text))
            }
            Ok(_) => Ok(()),
            Err(error) => {
                // Whatever is written next fails with the reason.
                tracing::warn!("cannot tell what is free: {error:#}");
                Ok(())
            }
        }
    }

    fn refusal(&self, free: u64) -> Error {
        let directory = self.directory.display();
        let left = format!(
            "{} MiB are left on the file system of {directory}",
            free >> 20
        );
        let text = if free < self.bytes.min(FOR_WHAT_EXISTS) {
            format!(
                "{left}: nothing is started with less than {} MiB (storage.reserve)",
                FOR_WHAT_EXISTS >> 20
            )
        } else {
            format!(
                "{left}, less than the reserve of {} MiB (storage.reserve)",
                self.bytes >> 20
            )
        };
        Error::new(Kind::Exhausted, text).with_hint(
            "Free space (`container system df` shows what takes it; deleting containers, volumes and images works with no room at all), or set storage.reserve in config.toml and start the system again.",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_is_refused_by_the_name_of_the_key() {
        let scratch = tempfile::tempdir().unwrap();
        let reserve = |bytes| Reserve::new(scratch.path().to_owned(), bytes);
        reserve(0).check().unwrap();
        let error = reserve(u64::MAX).check().unwrap_err();
        assert_eq!(error.kind, Kind::Exhausted);
        assert!(error.message().contains("storage.reserve"), "{error}");
        let error = reserve(0).check_for(u64::MAX).unwrap_err();
        assert_eq!(error.kind, Kind::Exhausted);
        reserve(0).check_for(1).unwrap();
        // A file system that is gone is another error's business.
        Reserve::new("/absent".into(), u64::MAX).check().unwrap();
    }
}
