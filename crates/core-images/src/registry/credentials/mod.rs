//! User names and passwords for registries.
//!
//! Looked for in this order: the environment (as Apple's container has it), the desktop's keyring, our own file, the one that
//! `REGISTRY_AUTH_FILE` names, Docker's configuration with its helpers, podman's file. The environment is that of this process, so those
//! with which the system was started; a client's own variables do not count. A login is kept in the keyring where there is one, else in our
//! own file. Secrets are never shown: not in logs, errors or arguments.

mod docker;
mod file;
mod helper;
mod keyring;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use container_api::Chain;
use container_resource::image::RegistryLogin;

use keyring::KeyringError;

/// What a registry is shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user's name and password.
    Password {
        /// Who.
        username: String,
        /// The secret.
        password: String,
    },
    /// A refresh token, to be exchanged for an access token.
    IdentityToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Why credentials cannot be read or stored.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file with credentials fails.
    #[error("the credentials in {path} cannot be used")]
    File {
        /// Which one.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A login is in a keyring that its user did not open.
    #[error("the keyring is locked: open it first")]
    Locked,
    /// A helper fails.
    #[error("the credential helper {name} fails: {reason}")]
    Helper {
        /// Its program.
        name: String,
        /// Why.
        reason: String,
    },
}

/// Where credentials are kept.
#[derive(Clone, Debug)]
pub struct CredentialStore {
    own: PathBuf,
    /// Files of other programs that are read.
    others: Vec<PathBuf>,
    environment: Option<(String, Credentials)>,
    /// Whether a session bus is there, and so perhaps a keyring.
    has_bus: bool,
}

impl CredentialStore {
    /// Stores in `own`; reads what this process's environment names.
    pub fn from_environment(own: PathBuf) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let directory = |name: &str| variable(name).map(PathBuf::from);
        let home = directory("HOME");
        let docker = directory("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker")));
        let runtime = directory("XDG_RUNTIME_DIR");
        let others = [
            // Who names a file means that one.
            directory("REGISTRY_AUTH_FILE"),
            docker.map(|docker| docker.join("config.json")),
            runtime.map(|runtime| runtime.join("containers/auth.json")),
            home.map(|home| home.join(".config/containers/auth.json")),
        ];
        let given = (
            variable("CONTAINER_REGISTRY_HOST"),
            variable("CONTAINER_REGISTRY_USER"),
            variable("CONTAINER_REGISTRY_TOKEN"),
        );
        let environment = match given {
            (Some(host), Some(username), Some(password)) => {
                Some((host, Credentials::Password { username, password }))
            }
            _ => None,
        };
        Self {
            own,
            others: others.into_iter().flatten().collect(),
            environment,
            has_bus: variable(keyring::BUS).is_some(),
        }
    }

    /// Credentials for a repository of a registry.
    pub async fn find(
        &self,
        server: &str,
        repository: &str,
    ) -> Result<Option<Credentials>, CredentialError> {
        let server = server_name(server);
        if let Some((host, credentials)) = &self.environment {
            if server_name(host) == server {
                return Ok(Some(credentials.clone()));
            }
        }
        if let Some(Some(found)) = self.keyring(Box::pin(keyring::find(&server))).await {
            return Ok(Some(found));
        }
        if let Some(found) = docker::find(&self.own, &server, repository).await? {
            return Ok(Some(found));
        }
        for path in &self.others {
            match docker::find(path, &server, repository).await {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                // Another program's file: what is wrong with it shall not stop an anonymous pull.
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), path = %path.display(), "skipping credentials");
                }
            }
        }
        Ok(None)
    }

    /// Remembers a user.
    pub async fn store(
        &self,
        server: &str,
        username: &str,
        password: &str,
    ) -> Result<(), CredentialError> {
        let server = server_name(server);
        let stored = self.keyring(Box::pin(keyring::store(&server, username, password)));
        if stored.await.is_some() {
            // What the file says of the server is out of date.
            return file::erase(&self.own, &server).map(drop);
        }
        file::store(&self.own, &server, username, password)
    }

    /// Forgets a user; false when there was none.
    pub async fn erase(&self, server: &str) -> Result<bool, CredentialError> {
        let server = server_name(server);
        let in_file = file::erase(&self.own, &server)?;
        let asked = async {
            match keyring::erase(&server).await {
                Err(KeyringError::Locked) => Ok(Err(CredentialError::Locked)),
                answer => answer.map(Ok),
            }
        };
        let in_keyring = self.keyring(Box::pin(asked)).await;
        Ok(in_keyring.unwrap_or(Ok(false))? || in_file)
    }

    /// Whom we remember, without secrets, sorted by server.
    pub async fn list(&self) -> Result<Vec<RegistryLogin>, CredentialError> {
        let mut logins = self
            .keyring(Box::pin(keyring::list()))
            .await
            .unwrap_or_default();
        logins.extend(file::list(&self.own)?);
        // The sort is stable: of two the keyring's stays, which is the one that is used.
        logins.sort_by(|one, other| one.name.cmp(&other.name));
        logins.dedup_by(|other, one| one.name == other.name);
        Ok(logins)
    }

    /// What the keyring answers; `None` where there is none that can be used. Boxed: D-Bus takes much room.
    async fn keyring<T>(
        &self,
        ask: Pin<Box<impl Future<Output = Result<T, KeyringError>>>>,
    ) -> Option<T> {
        if !self.has_bus {
            return None;
        }
        let answer = ask.await;
        answer
            .inspect_err(|error| tracing::info!(error = %Chain(error), "going without the keyring"))
            .ok()
    }
}

/// A registry's host and port, of what people write for it.
pub fn server_name(text: &str) -> String {
    let text = text.trim();
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = bare.split('/').next().unwrap_or(bare);
    match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        host => host.to_owned(),
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> CredentialError + '_ {
    move |source| CredentialError::File {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn store(scratch: &Path) -> CredentialStore {
        CredentialStore {
            own: scratch.join("auth.json"),
            others: vec![scratch.join("config.json")],
            environment: None,
            has_bus: false,
        }
    }

    fn password(username: &str, password: &str) -> Credentials {
        let (username, password) = (username.to_owned(), password.to_owned());
        Credentials::Password { username, password }
    }

    #[tokio::test]
    async fn what_is_stored_is_found_and_forgotten() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = tempfile::tempdir().unwrap();
        let store = store(scratch.path());
        store
            .store("https://index.docker.io/v1/", "me", "secret:with colon")
            .await
            .unwrap();
        store.store("localhost:5000", "you", "x").await.unwrap();
        let mode = store.own.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            store.find("docker.io", "a/b").await.unwrap(),
            Some(password("me", "secret:with colon"))
        );
        let names: Vec<String> = store
            .list()
            .await
            .unwrap()
            .into_iter()
            .map(|one| one.name)
            .collect();
        assert_eq!(names, ["docker.io", "localhost:5000"]);
        assert!(store.erase("docker.io").await.unwrap());
        assert!(!store.erase("docker.io").await.unwrap());
        assert_eq!(store.find("docker.io", "a/b").await.unwrap(), None);
    }

    #[tokio::test]
    async fn dockers_configuration_is_read() {
        let scratch = tempfile::tempdir().unwrap();
        let text = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "bWU6c2VjcmV0"},
            "other.example": {"username": "u", "password": "p"},
            "token.example": {"identitytoken": "t"}
        }}"#;
        std::fs::write(scratch.path().join("config.json"), text).unwrap();
        let store = store(scratch.path());
        assert_eq!(
            store.find("docker.io", "a/b").await.unwrap(),
            Some(password("me", "secret"))
        );
        assert_eq!(
            store.find("other.example", "a/b").await.unwrap(),
            Some(password("u", "p"))
        );
        let token = Credentials::IdentityToken("t".into());
        assert_eq!(
            store.find("token.example", "a/b").await.unwrap(),
            Some(token)
        );
        assert_eq!(store.find("absent.example", "a/b").await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_longest_path_wins() {
        let scratch = tempfile::tempdir().unwrap();
        let auth = |user: &str| STANDARD.encode(format!("{user}:x"));
        let text = format!(
            r#"{{"auths": {{
                "https://r.example/v2/": {{"auth": "{}"}}, "r.example/a": {{"auth": "{}"}},
                "r.example/a/b": {{"auth": "{}"}}, "r.example/ab": {{"auth": "{}"}},
                "http://r.example/a/b/c": {{"auth": "{}"}}, "empty.example/a": {{}},
                "empty.example": {{"auth": "{}"}}, "docker.io/library": {{"auth": "{}"}}
            }}}}"#,
            auth("host"),
            auth("a"),
            auth("a-b"),
            auth("ab"),
            auth("url"),
            auth("whole"),
            auth("library"),
        );
        std::fs::write(scratch.path().join("config.json"), text).unwrap();
        let store = store(scratch.path());
        for (server, repository, user) in [
            ("r.example", "a/b/c", "a-b"),
            ("r.example", "a/b", "a-b"),
            ("r.example", "a/bc", "a"),
            ("r.example", "ab/c", "ab"),
            ("r.example", "abc", "host"),
            ("empty.example", "a/b", "whole"),
            ("docker.io", "library/x", "library"),
        ] {
            // Each time the file is read its map is another one.
            for _ in 0..4 {
                let found = store.find(server, repository).await.unwrap();
                assert_eq!(found, Some(password(user, "x")), "{server}/{repository}");
            }
        }
        assert_eq!(store.find("docker.io", "other/x").await.unwrap(), None);
    }

    #[test]
    fn secrets_are_not_shown() {
        assert!(!format!("{:?}", password("me", "secret")).contains("secret"));
    }
}
