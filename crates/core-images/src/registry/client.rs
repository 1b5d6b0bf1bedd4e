//! All registries: which hosts to ask for a repository, with which certificates and credentials.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use container_files::Links;
use container_resource::reference::Reference;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, Identity, Method, Url};

use super::address::{api_host, is_loopback};
use super::auth::Authority;
use super::credentials::{CredentialStore, Credentials, server_name};
use super::error::RegistryError;
use super::hosts::{self, ClientCertificate, ConfigurationError, Host};
use super::http::{Ask, Session};
use super::reach::Origin;
use super::resolver::{Guarded, Lookup, System, proxies};
use super::retry::Retry;
use super::scheme::Scheme;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Until the next byte of an answer. Bodies have bounds of their own.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Most requests for one thing to a host that another can stand in for.
const MIRROR_ATTEMPTS: u32 = 2;
/// Most bytes of a file with certificates: those of a whole distribution take 0.3 MB.
const MAX_PEM: u64 = 8 << 20;
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
    /// The client certificate.
    identity: Option<ClientCertificate>,
    skip_verify: bool,
    /// Never through a proxy.
    direct: bool,
    /// The registry's, whose reach its connections have: others' are not used for it.
    host: String,
}

/// The way to every registry.
#[derive(Debug)]
pub struct Registries {
    credentials: CredentialStore,
    /// Where hosts are configured, the best first.
    directories: Vec<PathBuf>,
    /// Which may go without TLS.
    insecure: Vec<String>,
    retry: Retry,
    /// Shared, so that connections are.
    clients: Mutex<HashMap<Trust, (Client, Arc<Origin>)>>,
    lookup: Arc<dyn Lookup>,
}

impl Registries {
    /// With the credentials of a store and the hosts' configuration of this system.
    pub fn new(credentials: CredentialStore) -> Self {
        // Fails when it was installed before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            credentials,
            directories: hosts::directories(),
            insecure: Vec::new(),
            retry: Retry::default(),
            clients: Mutex::default(),
            lookup: Arc::new(System),
        }
    }

    /// The same with other addresses for names.
    #[must_use]
    pub fn with_lookup(mut self, lookup: Arc<dyn Lookup>) -> Self {
        self.lookup = lookup;
        self
    }

    /// The same with other bounds of repetition.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The same with registries that may be spoken to without TLS (see [`container_resource::insecure`]).
    #[must_use]
    pub fn with_insecure(mut self, registries: Vec<String>) -> Self {
        self.insecure = registries;
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
        let server = self.server(reference.domain(), scheme).await?;
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
            let credentials = self.credentials.find(&name, path).await?;
            let authority = Authority::new(credentials, scope.clone());
            sessions.push(self.session(host, path, authority)?);
        }
        // Where another host can be asked, that is better than to wait for this one.
        if let Some((_, others)) = sessions.split_last_mut() {
            for session in others {
                session.retry.attempts = session.retry.attempts.min(MIRROR_ATTEMPTS);
            }
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
        let server = self.server(&domain, scheme).await?;
        let (username, password) = (username.to_owned(), password.to_owned());
        let credentials = Credentials::Password { username, password };
        let host = hosts::hosts(&self.directories, &domain, &server)?
            .into_iter()
            .find(|host| host.base == server)
            .unwrap_or_else(|| Host::new(server.clone()));
        let authority = Authority::new(Some(credentials), String::new());
        let session = self.session(host, "", authority)?;
        let ask = Ask::new(Method::GET, session.base.clone());
        session.expect(&ask, "the registry's API").await.map(drop)
    }

    pub(super) fn session(
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
        let (client, origin) = self.client(&host)?;
        Ok(Session {
            client,
            origin,
            base: host.base,
            repository: repository.to_owned(),
            headers,
            authority,
            retry: self.retry,
            avoided: AtomicBool::new(false),
        })
    }

    fn client(&self, host: &Host) -> Result<(Client, Arc<Origin>), RegistryError> {
        let key = Trust {
            authorities: host.authorities.clone(),
            identity: host.identity.clone(),
            skip_verify: host.skip_verify,
            // As curl's users have to say, and Go's programs do by themselves.
            direct: host.base.host_str().is_some_and(is_loopback),
            host: super::address::authority(&host.base),
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let origin = Arc::new(Origin::new(&host.base));
        let resolver = Guarded {
            origin: Arc::clone(&origin),
            lookup: Arc::clone(&self.lookup),
            proxies: if key.direct { Vec::new() } else { proxies() },
        };
        let mut builder = Client::builder()
            .dns_resolver(Arc::new(resolver))
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .tls_danger_accept_invalid_certs(host.skip_verify);
        if key.direct {
            builder = builder.no_proxy();
        }
        for path in &host.authorities {
            let unusable = |source| RegistryError::Configuration {
                path: path.display().to_string(),
                source,
            };
            let pem = container_files::read(path, MAX_PEM, Links::Follow)
                .map_err(|error| unusable(error.into()))?;
            let certificates = Certificate::from_pem_bundle(&pem)
                .map_err(|error| unusable(ConfigurationError::NoCertificate(error)))?;
            builder = builder.tls_certs_merge(certificates);
        }
        if let Some(certificate) = &host.identity {
            let unusable = |path: &std::path::Path, source| RegistryError::Configuration {
                path: path.display().to_string(),
                source,
            };
            let mut pem = Vec::new();
            for path in [Some(&certificate.certificate), certificate.key.as_ref()]
                .into_iter()
                .flatten()
            {
                let read = container_files::read(path, MAX_PEM, Links::Follow);
                pem.extend(read.map_err(|error| unusable(path, error.into()))?);
                pem.push(b'\n');
            }
            let identity = Identity::from_pem(&pem).map_err(|error| {
                unusable(
                    &certificate.certificate,
                    ConfigurationError::NoIdentity(error),
                )
            })?;
            builder = builder.identity(identity);
        }
        let client = builder.build().map_err(RegistryError::Client)?;
        clients.insert(key, (client.clone(), Arc::clone(&origin)));
        Ok((client, origin))
    }

    /// Where the registry `domain` itself is.
    async fn server(&self, domain: &str, scheme: Scheme) -> Result<Url, RegistryError> {
        let host = api_host(domain);
        let scheme = scheme.of(host, &self.insecure).await;
        let text = format!("{scheme}://{host}/v2/");
        text.parse().map_err(|_| RegistryError::Protocol {
            host: domain.to_owned(),
            reason: "its name is no address".into(),
        })
    }
}
