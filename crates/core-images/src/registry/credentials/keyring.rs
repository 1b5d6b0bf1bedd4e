//! The desktop's keyring (freedesktop.org Secret Service API), where a session bus runs and the service answers.
//!
//! Secrets are encrypted on the bus too. A keyring that is locked is opened by its user at a login; a pull asks
//! nobody and passes it by.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use container_resource::image::RegistryLogin;
use jiff::Timestamp;
use secret_service::{EncryptionType, Error, Item, SecretService};

use super::Credentials;

/// How the bus is found (D-Bus specification, "Well-known Message Bus Instances").
pub(super) const BUS: &str = "DBUS_SESSION_BUS_ADDRESS";
/// How long the service may take to answer, its start included.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a user may take to open the keyring.
const PROMPT: Duration = Duration::from_secs(60);

const SERVER: &str = "server";
const USERNAME: &str = "username";
/// What all our items have in common.
const OURS: (&str, &str) = ("application", "container-registry");

/// Why the keyring cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyringError {
    #[error("the keyring cannot be used")]
    Service(#[from] Error),
    #[error("the keyring does not answer")]
    Silent,
    #[error("the keyring is locked")]
    Locked,
}

/// Remembers a user in the default keyring.
pub(super) async fn store(
    server: &str,
    username: &str,
    password: &str,
) -> Result<(), KeyringError> {
    let service = within(ANSWER, connect()).await?;
    let keyring = within(ANSWER, service.get_default_collection()).await?;
    if within(ANSWER, keyring.is_locked()).await? {
        within(PROMPT, keyring.unlock()).await?;
    }
    let attributes = HashMap::from([OURS, (SERVER, server), (USERNAME, username)]);
    let label = format!("Registry {server}");
    let secret = password.as_bytes();
    let stored = keyring.create_item(&label, attributes, secret, true, "text/plain");
    within(ANSWER, stored).await?;
    // Another user's item has other attributes, and so it was not replaced.
    within(ANSWER, remove(&service, server, Some(username)))
        .await
        .map(drop)
}

/// The user of a server.
pub(super) async fn find(server: &str) -> Result<Option<Credentials>, KeyringError> {
    within(ANSWER, async {
        let service = connect().await?;
        let attributes = HashMap::from([OURS, (SERVER, server)]);
        let found = service.search_items(attributes).await?;
        let Some(item) = found.unlocked.first() else {
            return Ok(if found.locked.is_empty() {
                Ok(None)
            } else {
                Err(KeyringError::Locked)
            });
        };
        let username = username(item).await?;
        let password = String::from_utf8(item.get_secret().await?);
        let credentials = password.map(|password| Credentials::Password { username, password });
        Ok(Ok(credentials.ok()))
    })
    .await?
}

/// Forgets the users of a server; false when there was none. A locked keyring is opened by its user.
pub(super) async fn erase(server: &str) -> Result<bool, KeyringError> {
    let service = within(ANSWER, connect()).await?;
    let items = service.search_items(HashMap::from([OURS, (SERVER, server)]));
    let locked = within(ANSWER, items).await?.locked;
    if !locked.is_empty() {
        let locked: Vec<&Item<'_>> = locked.iter().collect();
        let opened = within(PROMPT, service.unlock_all(&locked)).await;
        opened.map_err(|_| KeyringError::Locked)?;
    }
    within(ANSWER, remove(&service, server, None)).await
}

/// All that we remember.
pub(super) async fn list() -> Result<Vec<RegistryLogin>, KeyringError> {
    within(ANSWER, async {
        let service = connect().await?;
        let found = service.search_items(HashMap::from([OURS])).await?;
        let mut logins = Vec::new();
        for item in found.unlocked.iter().chain(&found.locked) {
            let attributes = item.get_attributes().await?;
            let of = |key: &str| attributes.get(key).cloned().unwrap_or_default();
            logins.push(RegistryLogin {
                id: of(SERVER),
                name: of(SERVER),
                username: of(USERNAME),
                creation_date: time(item.get_created().await?),
                modification_date: time(item.get_modified().await?),
                labels: BTreeMap::new(),
            });
        }
        Ok(logins)
    })
    .await
}

async fn connect() -> Result<SecretService<'static>, Error> {
    SecretService::connect(EncryptionType::Dh).await
}

/// Deletes the items of a server, but for those of the user `kept`; says whether there were any.
async fn remove(
    service: &SecretService<'_>,
    server: &str,
    kept: Option<&str>,
) -> Result<bool, Error> {
    let found = service
        .search_items(HashMap::from([OURS, (SERVER, server)]))
        .await?;
    let mut removed = false;
    for item in found.unlocked.iter().chain(&found.locked) {
        if let Some(kept) = kept {
            if username(item).await? == kept {
                continue;
            }
        }
        item.delete().await?;
        removed = true;
    }
    Ok(removed)
}

async fn username(item: &Item<'_>) -> Result<String, Error> {
    let mut attributes = item.get_attributes().await?;
    Ok(attributes.remove(USERNAME).unwrap_or_default())
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, KeyringError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(KeyringError::Silent),
    }
}

fn time(seconds: u64) -> Timestamp {
    let seconds = i64::try_from(seconds).unwrap_or(0);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}
