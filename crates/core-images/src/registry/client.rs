//! All registries: whom to ask for a repository, with which certificates and credentials.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use container_resource::reference::Reference;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, Method, Url};

use super::address::{Scheme, api_host, is_loopback};
use super::auth::Authority;
use super::credentials::{CredentialStore, Credentials, server_name};
use super::error::RegistryError;
use super::hosts::{self, Host};
use super::http::{Ask, Session};
use super::retry::Retry;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Until the next byte of an answer. Bodies have bounds of their own.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const USER_AGENT: &str = concat!("container/", env!("CARGO_PKG_VERSION"));

/// What a repository is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Pull,
    Push,
}

/// How a host is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Trust {
    authorities: Vec<PathBuf>,
    skip_verify: bool,
    /// Never through a proxy.
    direct: bool,
}

/// The way to every registry.
#[derive(Debug)]
pub struct Registries {
    credentials: CredentialStore,
    /// Where hosts are configured, the best first.
    directories: Vec<PathBuf>,
    retry: Retry,
    /// Shared, so that connections are.
    clients: Mutex<HashMap<Trust, Client>>,
}

impl Registries {
    /// With the credentials of a store and the hosts' configuration of this system.
    pub fn new(credentials: CredentialStore) -> Self {
        // Fails when it was installed before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            credentials,
            directories: hosts::directories(),
            retry: Retry::default(),
            clients: Mutex::default(),
        }
    }

    /// The same with other bounds of repetition.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Where credentials are kept.
    pub fn credentials(&self) -> &CredentialStore {
        &self.credentials
    }

    /// The hosts that can answer for a repository, the best first.
    pub(super) async fn sessions(
        &self,
        reference: &Reference,
        scheme: Scheme,
        action: Action,
    ) -> Result<Vec<Session>, RegistryError> {
        let path = reference.path();
        let scope = match action {
            Action::Pull => format!("repository:{path}:pull"),
            Action::Push => format!("repository:{path}:pull,push"),
        };
        let server = server(reference.domain(), scheme)?;
        let mut sessions = Vec::new();
        for host in hosts::hosts(&self.directories, reference.domain(), &server)? {
            let useful = match action {
                Action::Pull => host.capabilities.pull,
                Action::Push => host.capabilities.push,
            };
            if !useful {
                continue;
            }
            // A mirror has credentials of its own.
            let name = if host.base == server {
                reference.domain().to_owned()
            } else {
                super::address::authority(&host.base)
            };
            let credentials = self.credentials.find(&name).await?;
            let authority = Authority::new(credentials, scope.clone());
            sessions.push(self.session(host, path, authority)?);
        }
        Ok(sessions)
    }

    /// Asks a registry whether it takes these credentials, and for which API (`GET /v2/`).
    pub async fn check(
        &self,
        server_text: &str,
        scheme: Scheme,
        username: &str,
        password: &str,
    ) -> Result<(), RegistryError> {
        let domain = server_name(server_text);
        let server = server(&domain, scheme)?;
        let (username, password) = (username.to_owned(), password.to_owned());
        let credentials = Credentials::Password { username, password };
        let host = hosts::hosts(&self.directories, &domain, &server)?
            .into_iter()
            .find(|host| host.base == server)
            .unwrap_or_else(|| Host {
                base: server.clone(),
                capabilities: super::http::Capabilities {
                    pull: true,
                    push: true,
                },
                authorities: Vec::new(),
                skip_verify: false,
                headers: Vec::new(),
            });
        let authority = Authority::new(Some(credentials), String::new());
        let session = self.session(host, "", authority)?;
        let ask = Ask::new(Method::GET, session.base.clone());
        session.expect(&ask, "the registry's API").await.map(drop)
    }

    fn session(
        &self,
        host: Host,
        repository: &str,
        authority: Authority,
    ) -> Result<Session, RegistryError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &host.headers {
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_str(value),
            ) {
                headers.append(name, value);
            }
        }
        Ok(Session {
            client: self.client(&host)?,
            base: host.base,
            repository: repository.to_owned(),
            headers,
            authority,
            retry: self.retry,
            avoided: AtomicBool::new(false),
        })
    }

    fn client(&self, host: &Host) -> Result<Client, RegistryError> {
        let key = Trust {
            authorities: host.authorities.clone(),
            skip_verify: host.skip_verify,
            // As curl's users have to say, and Go's programs do by themselves.
            direct: host.base.host_str().is_some_and(is_loopback),
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .tls_danger_accept_invalid_certs(host.skip_verify);
        if key.direct {
            builder = builder.no_proxy();
        }
        for path in &host.authorities {
            let unusable = |reason: String| RegistryError::Configuration {
                path: path.display().to_string(),
                reason,
            };
            let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
            let certificates = Certificate::from_pem_bundle(&pem)
                .map_err(|_| unusable("it holds no certificate in PEM form".into()))?;
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(RegistryError::Client)?;
        clients.insert(key, client.clone());
        Ok(client)
    }
}

fn server(domain: &str, scheme: Scheme) -> Result<Url, RegistryError> {
    let text = format!("{}://{}/v2/", scheme.of(domain), api_host(domain));
    text.parse().map_err(|_| RegistryError::Protocol {
        host: domain.to_owned(),
        reason: "its name is no address".into(),
    })
}
