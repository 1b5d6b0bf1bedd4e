//! Which machine is meant where none is named.

use std::io;
use std::path::PathBuf;

use container_api::{Error, Kind};
use container_resource::bundle;
use serde::{Deserialize, Serialize};

use crate::containers::kind;

/// The file that says so.
#[derive(Debug)]
pub struct Default(PathBuf);

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    machine: String,
}

impl Default {
    /// In the file `path`.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Its name. A file that cannot be read counts as no file: every machine can still be named.
    pub fn get(&self) -> Option<String> {
        let content: Content = bundle::read_json(&self.0)
            .inspect_err(|error| {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!("{}: {error:#}", self.0.display());
                }
            })
            .ok()?;
        Some(content.machine)
    }

    /// Makes it `machine`.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn set(&self, machine: &str) -> Result<(), Error> {
        let content = Content {
            machine: machine.to_owned(),
        };
        bundle::write_json(&self.0, &content).map_err(|error| {
            Error::caused(kind(&error), error).context("store the default machine")
        })
    }

    /// Makes it none.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn clear(&self) -> Result<(), Error> {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::caused(Kind::Internal, error).context("forget the default machine"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_until_it_is_cleared() {
        let scratch = tempfile::tempdir().unwrap();
        let default = Default::new(scratch.path().join("d.json"));
        assert_eq!(default.get(), None);
        default.set("dev").unwrap();
        assert_eq!(default.get().as_deref(), Some("dev"));
        default.clear().unwrap();
        default.clear().unwrap();
        assert_eq!(default.get(), None);
        std::fs::write(scratch.path().join("d.json"), "{").unwrap();
        assert_eq!(default.get(), None);
    }
}
