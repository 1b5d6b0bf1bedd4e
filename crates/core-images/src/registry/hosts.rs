//! Configuration of registries' hosts: certificates and mirrors.
//!
//! For a registry `host` the first of these directories that exists is read: `certs.d/<host>` below the
//! user's configuration, `/etc/container`, `/etc/containerd`, `/etc/docker`. A `hosts.toml` in it is that of
//! containerd (`docs/hosts.md`); every `*.crt` beside it is a further certificate authority, and a `*.cert` with the
//! `*.key` of the same name what this side shows of itself, as with Docker.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use container_files::Links;
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::error::RegistryError;
use super::http::Capabilities;

/// Most bytes of a `hosts.toml`.
const MAX_FILE: u64 = 1 << 20;

/// Why a host's configuration, or a certificate that it names, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// `hosts.toml` is no TOML, or a key has a value of another type.
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
    /// A key that is not known, such as `skip_verfy`: the setting would have no effect.
    #[error("unknown key {key:?}{of}; known are {known}")]
    UnknownKey {
        /// The key.
        key: String,
        /// ` of host <address>`, or empty for a key of the file.
        of: String,
        /// The known keys, with commas between them.
        known: String,
    },
    /// `host.<address>` has a value that is no table.
    #[error("host {0} is no table")]
    NoTable(String),
    /// The address of a host is no URL.
    #[error("{address} is no address")]
    Address {
        /// As written.
        address: String,
        /// Why.
        source: <Url as std::str::FromStr>::Err,
    },
    /// The address is that of another protocol.
    #[error("{0} is no HTTP address")]
    NoHttp(String),
    /// Several certificates of the client; only one can be shown.
    #[error("there are {0} client certificates, and one can be shown")]
    Certificates(usize),
    /// `client` has another form.
    #[error("client is a file, or pairs of certificate and key")]
    Client,
    /// A header that HTTP does not allow.
    #[error("{0} is no HTTP header, or its value is not allowed")]
    Header(String),
    /// The file of an authority.
    #[error("it holds no certificate in PEM form")]
    NoCertificate(#[source] reqwest::Error),
    /// The files of a client's certificate.
    #[error("it and its key are no certificate and private key in PEM form")]
    NoIdentity(#[source] reqwest::Error),
}

/// Where requests for a registry go, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// `https://mirror.example/v2/`
    pub base: Url,
    pub capabilities: Capabilities,
    /// PEM files.
    pub authorities: Vec<PathBuf>,
    /// The client certificate.
    pub identity: Option<ClientCertificate>,
    /// Any certificate is accepted.
    pub skip_verify: bool,
    /// Sent with each request.
    pub headers: Vec<(String, String)>,
}

/// A client's certificate, and its private key where that is in another file. PEM.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClientCertificate {
    pub certificate: PathBuf,
    pub key: Option<PathBuf>,
}

impl Host {
    /// As it is without configuration.
    pub(super) fn new(base: Url) -> Self {
        Self {
            base,
            capabilities: Capabilities {
                pull: true,
                push: true,
            },
            authorities: Vec::new(),
            identity: None,
            skip_verify: false,
            headers: Vec::new(),
        }
    }
}

/// Keys of a host. The last is known and means nothing here: how long a connection may take is the same for all.
const HOST_KEYS: [&str; 7] = [
    "capabilities",
    "ca",
    "client",
    "skip_verify",
    "override_path",
    "header",
    "dial_timeout",
];
/// Keys of the file, beside those of the host that it names as `server`.
const FILE_KEYS: [&str; 2] = ["server", "host"];

#[derive(Debug, Default, Deserialize)]
struct File {
    server: Option<String>,
    #[serde(default)]
    host: toml::Table,
    #[serde(flatten)]
    own: Settings,
}

#[derive(Debug, Default, Deserialize)]
struct Settings {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMore>,
    client: Option<ClientKey>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
    #[serde(default)]
    header: BTreeMap<String, OneOrMore>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// `client`: a file with both, several of them, or pairs of certificate and key.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ClientKey {
    One(String),
    More(Vec<OneOrMore>),
}

impl OneOrMore {
    fn all(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::More(texts) => texts,
        }
    }
}

/// Directories that hold one directory per host, the best first.
pub(super) fn directories() -> Vec<PathBuf> {
    let user = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    user.into_iter()
        .map(|config| config.join("container/certs.d"))
        .chain(
            [
                "/etc/container/certs.d",
                "/etc/containerd/certs.d",
                "/etc/docker/certs.d",
            ]
            .map(PathBuf::from),
        )
        .collect()
}

/// The hosts to ask for the registry `domain`, whose own address is `server`: mirrors first, itself last.
pub(super) fn hosts(
    directories: &[PathBuf],
    domain: &str,
    server: &Url,
) -> Result<Vec<Host>, RegistryError> {
    let own = Host::new(server.clone());
    let found = directories
        .iter()
        .flat_map(|directory| [directory.join(domain), directory.join("_default")])
        .find(|directory| directory.is_dir());
    let Some(directory) = found else {
        return Ok(vec![own]);
    };
    let path = directory.join("hosts.toml");
    let unusable = |source| RegistryError::Configuration {
        path: path.display().to_string(),
        source,
    };
    let beside = Beside::read(&directory).map_err(unusable)?;
    match container_files::read_text(&path, MAX_FILE, Links::Follow) {
        Ok(text) => parse(&text, &directory, &beside, &own).map_err(unusable),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![beside.give(own)]),
        Err(error) => Err(unusable(error.into())),
    }
}

/// Files beside `hosts.toml`, as Docker has them.
struct Beside {
    authorities: Vec<PathBuf>,
    identity: Option<ClientCertificate>,
}

impl Beside {
    fn read(directory: &Path) -> Result<Self, ConfigurationError> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        let of_kind = |kind: &'static str| {
            paths
                .iter()
                .filter(move |path| path.extension().is_some_and(|extension| extension == kind))
        };
        let identities = of_kind("cert").map(|certificate| ClientCertificate {
            certificate: certificate.clone(),
            key: Some(certificate.with_extension("key")),
        });
        Ok(Self {
            authorities: of_kind("crt").cloned().collect(),
            identity: only(identities.collect())?,
        })
    }

    /// What `host` does not say itself.
    fn give(&self, mut host: Host) -> Host {
        host.authorities.extend_from_slice(&self.authorities);
        if host.identity.is_none() {
            host.identity.clone_from(&self.identity);
        }
        host
    }
}

/// The one certificate. With several, the choice would not be clear.
fn only(mut all: Vec<ClientCertificate>) -> Result<Option<ClientCertificate>, ConfigurationError> {
    match all.len() {
        0 | 1 => Ok(all.pop()),
        count => Err(ConfigurationError::Certificates(count)),
    }
}

fn parse(
    text: &str,
    directory: &Path,
    beside: &Beside,
    own: &Host,
) -> Result<Vec<Host>, ConfigurationError> {
    let table: toml::Table = toml::from_str(text)?;
    check_keys(&table, &[&FILE_KEYS, HOST_KEYS.as_slice()].concat(), "")?;
    let file: File = table.try_into()?;
    let mut hosts = Vec::new();
    for (address, settings) in file.host {
        let table = settings
            .as_table()
            .ok_or_else(|| ConfigurationError::NoTable(address.clone()))?;
        check_keys(table, &HOST_KEYS, &format!(" of host {address}"))?;
        let settings: Settings = settings.try_into()?;
        hosts.push(beside.give(host(&address, settings, directory)?));
    }
    let address = file.server.unwrap_or_else(|| own.base.to_string());
    let server = beside.give(host(&address, file.own, directory)?);
    if !hosts.iter().any(|host| host.base == server.base) {
        hosts.push(server);
    }
    Ok(hosts)
}

fn check_keys(table: &toml::Table, known: &[&str], of: &str) -> Result<(), ConfigurationError> {
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(ConfigurationError::UnknownKey {
            key: key.clone(),
            of: of.to_owned(),
            known: known.join(", "),
        }),
        None => Ok(()),
    }
}

fn host(address: &str, settings: Settings, directory: &Path) -> Result<Host, ConfigurationError> {
    let whole = if address.contains("://") {
        address.to_owned()
    } else {
        format!("https://{address}")
    };
    let mut base: Url = whole
        .parse()
        .map_err(|source| ConfigurationError::Address {
            address: address.to_owned(),
            source,
        })?;
    if !matches!(base.scheme(), "http" | "https") {
        return Err(ConfigurationError::NoHttp(address.to_owned()));
    }
    let path = base.path().trim_end_matches('/').to_owned();
    let path = if settings.override_path || path.ends_with("/v2") {
        path
    } else {
        path + "/v2"
    };
    base.set_path(&format!("{path}/"));
    let can = |what: &str| {
        settings
            .capabilities
            .as_ref()
            .is_none_or(|all| all.iter().any(|one| one == what))
    };
    let capabilities = Capabilities {
        pull: can("pull") && can("resolve"),
        push: can("push"),
    };
    let named = settings.ca.map(OneOrMore::all).unwrap_or_default();
    Ok(Host {
        base,
        capabilities,
        authorities: named.iter().map(|path| directory.join(path)).collect(),
        identity: settings
            .client
            .map_or(Ok(None), |client| identity(client, directory))?,
        skip_verify: settings.skip_verify,
        headers: headers(settings.header)?,
    })
}

fn identity(
    client: ClientKey,
    directory: &Path,
) -> Result<Option<ClientCertificate>, ConfigurationError> {
    let entries = match client {
        ClientKey::One(path) => vec![OneOrMore::One(path)],
        ClientKey::More(entries) => entries,
    };
    let entries = entries
        .into_iter()
        .map(|entry| match entry.all().as_slice() {
            [certificate] => Ok((certificate.clone(), None)),
            [certificate, key] => Ok((
                certificate.clone(),
                Some(key.clone()).filter(|key| !key.is_empty()),
            )),
            _ => Err(ConfigurationError::Client),
        });
    let certificates = entries.map(|entry| {
        let (certificate, key) = entry?;
        Ok(ClientCertificate {
            certificate: directory.join(certificate),
            key: key.map(|key| directory.join(key)),
        })
    });
    only(certificates.collect::<Result<_, ConfigurationError>>()?)
}

fn headers(
    table: BTreeMap<String, OneOrMore>,
) -> Result<Vec<(String, String)>, ConfigurationError> {
    let mut headers = Vec::new();
    for (name, values) in table {
        for value in values.all() {
            let is_header = HeaderName::from_bytes(name.as_bytes()).is_ok()
                && HeaderValue::from_str(&value).is_ok();
            if !is_header {
                return Err(ConfigurationError::Header(name));
            }
            headers.push((name.clone(), value));
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Url {
        "https://registry.example/v2/".parse().unwrap()
    }

    fn bases(hosts: &[Host]) -> Vec<&str> {
        hosts.iter().map(|host| host.base.as_str()).collect()
    }

    #[test]
    fn without_configuration_the_registry_itself_is_asked() {
        let hosts = hosts(&["/nonexistent".into()], "registry.example", &server()).unwrap();
        assert_eq!(bases(&hosts), ["https://registry.example/v2/"]);
    }

    #[test]
    fn mirrors_come_first_in_the_order_of_the_file() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("registry.example");
        fs::create_dir(&directory).unwrap();
        let text = r#"
            server = "https://registry.example"
            skip_verify = true
            [host."http://z.mirror:5000"]
            capabilities = ["pull", "resolve"]
            [host."https://a.mirror/prefix/v2"]
            override_path = true
            ca = "own.pem"
            header = { x-key = ["one", "two"], x-other = "three" }
            client = [["own.cert", "own.key"]]
        "#;
        fs::write(directory.join("hosts.toml"), text).unwrap();
        fs::write(directory.join("ca.crt"), "").unwrap();
        fs::write(directory.join("docker.cert"), "").unwrap();
        let hosts = hosts(&[scratch.path().into()], "registry.example", &server()).unwrap();
        assert_eq!(
            bases(&hosts),
            [
                "http://z.mirror:5000/v2/",
                "https://a.mirror/prefix/v2/",
                "https://registry.example/v2/"
            ]
        );
        assert_eq!(
            hosts[0].capabilities,
            Capabilities {
                pull: true,
                push: false
            }
        );
        assert_eq!(
            hosts[1].authorities,
            [directory.join("own.pem"), directory.join("ca.crt")]
        );
        let headers: Vec<(&str, &str)> = hosts[1]
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let expected = [("x-key", "one"), ("x-key", "two"), ("x-other", "three")];
        assert_eq!(headers, expected);
        let certificate = |name: &str, key: Option<&str>| ClientCertificate {
            certificate: directory.join(name),
            key: key.map(|key| directory.join(key)),
        };
        let own = certificate("own.cert", Some("own.key"));
        assert_eq!(hosts[1].identity, Some(own));
        let beside = certificate("docker.cert", Some("docker.key"));
        assert_eq!(hosts[2].identity, Some(beside));
        assert!(hosts[2].skip_verify && !hosts[0].skip_verify);
    }

    #[test]
    fn mistakes_name_the_file() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("_default");
        fs::create_dir(&directory).unwrap();
        for text in [
            "not toml",
            "server = \"file:///x\"",
            "[host.\"http://\"]",
            "skip_verfy = true",
            "[host.\"http://a\"]\ncapabilites = []",
            "[host.\"http://a\"]\nclient = [\"a.pem\", \"b.pem\"]",
            "[host.\"http://a\"]\nclient = [[\"a\", \"b\", \"c\"]]",
            "[host.\"http://a\".header]\nx-key = 7",
            "[host.\"http://a\".header]\n\"x key\" = \"v\"",
            "[host.\"http://a\".header]\nx-key = \"a\\nb\"",
        ] {
            fs::write(directory.join("hosts.toml"), text).unwrap();
            let error = hosts(&[scratch.path().into()], "any", &server()).unwrap_err();
            assert!(error.to_string().contains("hosts.toml"), "{error}");
        }
    }
}
