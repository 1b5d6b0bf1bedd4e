//! Our own file: Docker's `auth.json`, mode 0600, with the times that `registry list` shows.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use container_files::Links;
use container_resource::image::RegistryLogin;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::docker::{MAX_FILE, decode};
use super::{CredentialError, failed};
use crate::store::Temporary;

const CREATED: &str = "created";
const MODIFIED: &str = "modified";

pub(super) fn store(
    path: &Path,
    server: &str,
    username: &str,
    password: &str,
) -> Result<(), CredentialError> {
    change(path, |auths| {
        let now = now();
        let created = auths
            .get(server)
            .and_then(|old| time(old, CREATED))
            .unwrap_or(now);
        let auth = STANDARD.encode(format!("{username}:{password}"));
        auths.insert(
            server.to_owned(),
            json!({ "auth": auth, CREATED: created, MODIFIED: now }),
        );
    })
}

pub(super) fn erase(path: &Path, server: &str) -> Result<bool, CredentialError> {
    change(path, |auths| auths.remove(server).is_some())
}

pub(super) fn list(path: &Path) -> Result<Vec<RegistryLogin>, CredentialError> {
    let document = read(path)?;
    let auths = document.get("auths").and_then(Value::as_object);
    let mut logins: Vec<RegistryLogin> = auths
        .into_iter()
        .flatten()
        .map(|(server, entry)| {
            let decoded = entry.get("auth").and_then(Value::as_str).and_then(decode);
            let created = time(entry, CREATED).unwrap_or(Timestamp::UNIX_EPOCH);
            RegistryLogin {
                id: server.clone(),
                name: server.clone(),
                username: decoded.map(|(username, _)| username).unwrap_or_default(),
                creation_date: created,
                modification_date: time(entry, MODIFIED).unwrap_or(created),
                labels: BTreeMap::new(),
            }
        })
        .collect();
    logins.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(logins)
}

fn change<T>(
    path: &Path,
    change: impl FnOnce(&mut Map<String, Value>) -> T,
) -> Result<T, CredentialError> {
    let mut document = read(path)?;
    let malformed = || failed(path)(io::Error::other("it is no auth.json"));
    let object = document.as_object_mut().ok_or_else(malformed)?;
    let auths = object.entry("auths").or_insert_with(|| json!({}));
    let result = change(auths.as_object_mut().ok_or_else(malformed)?);
    let text = serde_json::to_vec_pretty(&document).map_err(|_| malformed())?;
    write(path, &text).map_err(failed(path))?;
    Ok(result)
}

fn read(path: &Path) -> Result<Value, CredentialError> {
    match container_files::read(path, MAX_FILE, Links::Follow) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|_| failed(path)(io::Error::other("it is no auth.json"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(json!({})),
        Err(error) => Err(failed(path)(error)),
    }
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    // Mode 0600 from the start.
    let temporary = Temporary::create(directory)?;
    temporary.file().write_all(text)?;
    temporary.publish(path)
}

fn time(entry: &Value, key: &str) -> Option<Timestamp> {
    entry.get(key)?.as_str()?.parse().ok()
}

/// Whole seconds, as the other dates that are shown.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
}
