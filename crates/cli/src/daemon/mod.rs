//! Starting the apiserver as a daemon.

pub mod kernel;
mod spawn;

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use container_api::api::PingRequest;
use container_api::api::system_client::SystemClient;
use container_api::roots::{self, Roots};
use container_api::socket;
use container_files::Links;
use container_resource::bundle;
use container_resource::settings::{self, Settings};

pub use spawn::start;

use crate::connection::prompt;
use crate::failure::Failure;

/// Whether an apiserver answers.
pub async fn is_running(roots: &Roots) -> bool {
    match socket::connect(&roots.apiserver_socket()) {
        Ok(channel) => prompt(SystemClient::new(channel).ping(PingRequest {}))
            .await
            .is_ok(),
        Err(_) => false,
    }
}

/// Copies the user's `config.toml` into the app root, so that all processes agree on it until the next start.
pub fn snapshot_configuration(roots: &Roots) -> Result<(), Failure> {
    let snapshot = settings::snapshot_path(&roots.app);
    let Some(source) = user_configuration() else {
        return Ok(());
    };
    // A configuration that nobody could read later is refused now.
    Settings::read(&source).map_err(anyhow::Error::new)?;
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

/// `$XDG_CONFIG_HOME/container/config.toml`, whether it is there or not.
fn user_configuration() -> Option<PathBuf> {
    let directory = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let home = directory("XDG_CONFIG_HOME").or_else(|| Some(directory("HOME")?.join(".config")))?;
    Some(home.join("container/config.toml"))
}
