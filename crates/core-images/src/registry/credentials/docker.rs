//! Docker's `config.json` and podman's `auth.json`, which share a form.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use container_files::Links;
use serde::Deserialize;

use super::{CredentialError, Credentials, failed, helper, server_name};

/// Docker's key for its own registry.
pub(super) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// Most bytes of a file with credentials.
pub(super) const MAX_FILE: u64 = 4 << 20;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
}

/// Credentials for a repository of `server` (a normalised host) in the file at `path`, which may be missing. Of several
/// keys that fit, that with the longest path counts (containers-auth.json(5)).
pub(super) async fn find(
    path: &Path,
    server: &str,
    repository: &str,
) -> Result<Option<Credentials>, CredentialError> {
    let Some(config) = read(path)? else {
        return Ok(None);
    };
    let fitting = |key: &str| covered(key, server, repository);
    let own_helper = config
        .cred_helpers
        .iter()
        .filter_map(|(key, name)| Some((fitting(key)?, name)))
        .max_by_key(|(length, _)| *length)
        .map(|(_, name)| name);
    if let Some(name) = own_helper.or(config.creds_store.as_ref()) {
        let key = if server == "docker.io" {
            DOCKER_HUB_KEY
        } else {
            server
        };
        if let Some(found) = helper::get(name, key).await? {
            return Ok(Some(found));
        }
    }
    // One that says nothing, as Docker leaves behind where a helper has the rest, hides no other.
    let entries = config
        .auths
        .iter()
        .filter_map(|(key, entry)| Some((fitting(key)?, entry.credentials()?)));
    let longest = entries.max_by_key(|(length, _)| *length);
    Ok(longest.map(|(_, credentials)| credentials))
}

/// How much of `repository` a key says, in bytes; `None` when it means something else. An address with a scheme is
/// Docker's old way to name the whole registry, whatever its path.
fn covered(key: &str, server: &str, repository: &str) -> Option<usize> {
    if server_name(key) != server {
        return None;
    }
    let path = match key.split_once('/') {
        Some((_, path)) if !key.contains("://") => path.trim_end_matches('/'),
        _ => "",
    };
    let is_whole = matches!(path, "" | "v1" | "v2");
    if is_whole {
        return Some(0);
    }
    let rest = repository.strip_prefix(path)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(path.len())
}

impl Entry {
    fn credentials(&self) -> Option<Credentials> {
        if !self.identitytoken.is_empty() {
            return Some(Credentials::IdentityToken(self.identitytoken.clone()));
        }
        let (username, password) = match decode(&self.auth) {
            Some(pair) => pair,
            None if !self.username.is_empty() => (self.username.clone(), self.password.clone()),
            None => return None,
        };
        Some(Credentials::Password { username, password })
    }
}

/// User name and password of base64 text.
pub(super) fn decode(auth: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    (!username.is_empty()).then(|| {
        (
            username.to_owned(),
            password.trim_end_matches('\0').to_owned(),
        )
    })
}

fn read(path: &Path) -> Result<Option<Config>, CredentialError> {
    let bytes = match container_files::read(path, MAX_FILE, Links::Follow) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path)(error)),
    };
    // The parser's message could show a part of a secret.
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|_| failed(path)(io::Error::other("it is no JSON of the expected form")))
}
