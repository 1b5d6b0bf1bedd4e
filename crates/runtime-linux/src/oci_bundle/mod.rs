//! An OCI runtime bundle (runtime-spec 1.2, `bundle.md`): a directory with `config.json` and a root file system, as a container of ours.
//!
//! The guest carries the specification out as it stands. What speaks of the host in it is translated here: the root becomes a disk
//! image, bind mounts become shares, limits become the size of the machine, namespaces are the machine's. What a machine cannot
//! carry out is an error that names the property: nothing is left out silently.

mod config;
mod create;
mod devices;
mod error;
mod mounts;
mod namespaces;
mod properties;
mod resources;
mod root;

use std::path::{Path, PathBuf};

use container_files::Links;

pub use config::Config;
pub use create::Host;
pub use error::{ConfigError, OciBundleError, RootError};

/// The largest `config.json`, in bytes.
const CONFIG_LIMIT: u64 = 4 << 20;

/// A bundle whose `config.json` has been read and checked.
#[derive(Debug)]
pub struct OciBundle {
    config: Config,
    root: PathBuf,
}

impl OciBundle {
    /// Reads the bundle at `directory`.
    ///
    /// # Errors
    /// When `config.json` cannot be read, or asks for what a machine cannot do.
    pub fn open(directory: &Path) -> Result<Self, OciBundleError> {
        let path = directory.join("config.json");
        let read = || {
            // Relative paths in it are meant from here.
            let directory = std::path::absolute(directory)?;
            let text = container_files::read(&path, CONFIG_LIMIT, Links::Follow)?;
            Ok((directory, text))
        };
        let (directory, text) = read().map_err(|source| OciBundleError::Read {
            path: path.clone(),
            source,
        })?;
        let config = Config::parse(&text, &directory)?;
        let root = directory.join(config.root());
        Ok(Self { config, root })
    }

    /// Properties of `config.json` that the runtime specification does not know: it wants them ignored.
    pub fn unknown_properties(&self) -> &[String] {
        self.config.unknown_properties()
    }

    /// Whether the process has a terminal.
    pub fn has_terminal(&self) -> bool {
        self.config.has_terminal()
    }
}
