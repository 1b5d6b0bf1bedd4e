//! Docker's `config.json` and podman's `auth.json`, which share a form.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{CredentialError, Credentials, failed, helper, server_name};

/// Docker's key for its own registry.
pub(super) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// Most bytes of a file with credentials.
const MAX_FILE: u64 = 4 << 20;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    auths: HashMap<String, Entry>,
    #[serde(default)]
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: HashMap<String, String>,
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

/// Credentials for `server` (a normalised host) in the file at `path`, which may be missing.
pub(super) async fn find(
    path: &Path,
    server: &str,
) -> Result<Option<Credentials>, CredentialError> {
    let Some(config) = read(path)? else {
        return Ok(None);
    };
    let helper = config
        .cred_helpers
        .iter()
        .find(|(key, _)| server_name(key) == server)
        .map(|(_, name)| name)
        .or(config.creds_store.as_ref());
    if let Some(name) = helper {
        let key = if server == "docker.io" {
            DOCKER_HUB_KEY
        } else {
            server
        };
        if let Some(found) = helper::get(name, key).await? {
            return Ok(Some(found));
        }
    }
    let entry = config
        .auths
        .iter()
        .find(|(key, _)| server_name(key) == server);
    Ok(entry.and_then(|(_, auth)| auth.credentials()))
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
    use std::io::Read;
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE)
        .read_to_end(&mut bytes)
        .map_err(failed(path))?;
    // The parser's message could show a part of a secret.
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|_| failed(path)(io::Error::other("it is no JSON of the expected form")))
}
