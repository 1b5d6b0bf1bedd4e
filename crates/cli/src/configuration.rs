//! The configuration, as commands read it.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use container_api::roots::{self, Roots};
use container_files::Links;
use container_resource::bundle;
use container_resource::settings::{self, Configuration, Origin, Settings};

use crate::failure::Failure;
use crate::output;

/// What holds for the running system, or would for one that is started now from the last copy.
pub fn settings(roots: &Roots) -> Result<Settings, Failure> {
    Ok(load(roots)?.settings())
}

/// The same, with who has set what.
pub fn load(roots: &Roots) -> Result<Configuration, Failure> {
    Ok(Configuration::load(&roots.app, &roots.install).map_err(anyhow::Error::new)?)
}

/// `$XDG_CONFIG_HOME/container/config.toml`, whether it is there or not.
pub fn user_path() -> Option<PathBuf> {
    let directory = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let home = directory("XDG_CONFIG_HOME").or_else(|| Some(directory("HOME")?.join(".config")))?;
    Some(home.join("container/config.toml"))
}

/// What would hold for a system that is started now.
pub fn of_files(roots: &Roots) -> Result<Configuration, Failure> {
    let files = [Some(settings::system_path(&roots.install)), user_path()];
    let files: Vec<PathBuf> = files.into_iter().flatten().collect();
    let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    Ok(Configuration::of(&paths).map_err(anyhow::Error::new)?)
}

/// Copies the user's file into the app root, so that all processes agree on it until the next start. Tells of keys that
/// nobody knows.
pub fn take(roots: &Roots) -> Result<(), Failure> {
    let snapshot = settings::snapshot_path(&roots.app);
    // A configuration that nobody could read later is refused now.
    for problem in of_files(roots)?.unknown() {
        output::tell(format_args!("Warning: {problem}"));
    }
    let Some(source) = user_path() else {
        return Ok(());
    };
    let context = || format!("copy {} to {}", source.display(), snapshot.display());
    match container_files::read(&source, settings::FILE_LIMIT, Links::Follow) {
        Ok(text) => {
            if let Some(directory) = snapshot.parent() {
                roots::create_private(directory).with_context(context)?;
            }
            bundle::write_file(&snapshot, &text).with_context(context)?;
            let mode = std::fs::Permissions::from_mode(0o444);
            std::fs::set_permissions(&snapshot, mode).with_context(context)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match std::fs::remove_file(&snapshot) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(context).map_err(Failure::Local);
                }
                _ => {}
            }
        }
        Err(error) => return Err(error).with_context(context).map_err(Failure::Local),
    }
    Ok(())
}

/// Whose copy the one in the app root is.
#[derive(Debug)]
pub struct Snapshot {
    copy: PathBuf,
    /// The user's file, if it is still what was copied.
    source: Option<PathBuf>,
    /// There is a file, or was one, and it was changed since.
    pub is_old: bool,
}

impl Snapshot {
    /// Looks.
    pub fn of(roots: &Roots) -> Self {
        let copy = settings::snapshot_path(&roots.app);
        // A file that cannot be read is not the one that was copied.
        let read =
            |path: &PathBuf| container_files::read(path, settings::FILE_LIMIT, Links::Follow).ok();
        let user = user_path();
        let now = user.as_ref().and_then(read);
        let then = read(&copy);
        let is_same = now == then;
        Self {
            copy,
            source: user.filter(|_| is_same),
            is_old: !is_same,
        }
    }

    /// An origin as the user knows it: their own file, not the copy of it.
    pub fn shown(&self, origin: &Origin) -> String {
        match (origin, &self.source) {
            (Origin::File(path, line), Some(source)) if *path == self.copy => {
                Origin::File(source.clone(), *line).to_string()
            }
            _ => origin.to_string(),
        }
    }
}
