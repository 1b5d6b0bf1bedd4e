//! Configuration of registries' hosts: certificates and mirrors.
//!
//! For a registry `host` the first of these directories that exists is read: `certs.d/<host>` below the
//! user's configuration, `/etc/container`, `/etc/containerd`, `/etc/docker`. A `hosts.toml` in it is that of
//! containerd (`docs/hosts.md`); every `*.crt` beside it is a further certificate authority, as with Docker.

use std::fs;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;

use super::error::RegistryError;
use super::http::Capabilities;

/// Where requests for a registry go, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// `https://mirror.example/v2/`
    pub base: Url,
    pub capabilities: Capabilities,
    /// PEM files.
    pub authorities: Vec<PathBuf>,
    /// Any certificate is accepted.
    pub skip_verify: bool,
    /// Sent with each request.
    pub headers: Vec<(String, String)>,
}

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
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
    #[serde(default)]
    header: toml::Table,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
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
    let own = Host {
        base: server.clone(),
        capabilities: Capabilities {
            pull: true,
            push: true,
        },
        authorities: Vec::new(),
        skip_verify: false,
        headers: Vec::new(),
    };
    let found = directories
        .iter()
        .flat_map(|directory| [directory.join(domain), directory.join("_default")])
        .find(|directory| directory.is_dir());
    let Some(directory) = found else {
        return Ok(vec![own]);
    };
    let certificates = certificates(&directory);
    let path = directory.join("hosts.toml");
    let Ok(text) = fs::read_to_string(&path) else {
        return Ok(vec![Host {
            authorities: certificates,
            ..own
        }]);
    };
    parse(&text, &directory, &certificates, own).map_err(|reason| RegistryError::Configuration {
        path: path.display().to_string(),
        reason,
    })
}

fn parse(
    text: &str,
    directory: &Path,
    certificates: &[PathBuf],
    own: Host,
) -> Result<Vec<Host>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut hosts = Vec::new();
    for (address, settings) in file.host {
        let settings: Settings = settings.try_into().map_err(|error| error.to_string())?;
        hosts.push(host(&address, settings, directory, certificates)?);
    }
    let server = match &file.server {
        Some(address) => host(address, file.own, directory, certificates)?,
        None => Host {
            authorities: certificates.to_vec(),
            ..own
        },
    };
    if !hosts.iter().any(|host| host.base == server.base) {
        hosts.push(server);
    }
    Ok(hosts)
}

fn host(
    address: &str,
    settings: Settings,
    directory: &Path,
    certificates: &[PathBuf],
) -> Result<Host, String> {
    let whole = if address.contains("://") {
        address.to_owned()
    } else {
        format!("https://{address}")
    };
    let mut base: Url = whole
        .parse()
        .map_err(|_| format!("{address} is no address"))?;
    if !matches!(base.scheme(), "http" | "https") {
        return Err(format!("{address} is no HTTP address"));
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
    let named = match settings.ca {
        None => Vec::new(),
        Some(OneOrMore::One(path)) => vec![path],
        Some(OneOrMore::More(paths)) => paths,
    };
    let named = named.iter().map(|path| directory.join(path));
    let header = |(name, value): (String, toml::Value)| match value {
        toml::Value::String(value) => Some((name, value)),
        _ => None,
    };
    Ok(Host {
        base,
        capabilities: Capabilities {
            pull: can("pull") && can("resolve"),
            push: can("push"),
        },
        authorities: named.chain(certificates.iter().cloned()).collect(),
        skip_verify: settings.skip_verify,
        headers: settings.header.into_iter().filter_map(header).collect(),
    })
}

fn certificates(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "crt"))
        .collect();
    paths.sort();
    paths
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
            header = { x-key = "value" }
        "#;
        fs::write(directory.join("hosts.toml"), text).unwrap();
        fs::write(directory.join("ca.crt"), "").unwrap();
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
        assert_eq!(hosts[1].headers, [("x-key".to_owned(), "value".to_owned())]);
        assert!(hosts[2].skip_verify && !hosts[0].skip_verify);
    }

    #[test]
    fn mistakes_name_the_file() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("_default");
        fs::create_dir(&directory).unwrap();
        for text in ["not toml", "server = \"file:///x\"", "[host.\"http://\"]"] {
            fs::write(directory.join("hosts.toml"), text).unwrap();
            let error = hosts(&[scratch.path().into()], "any", &server()).unwrap_err();
            assert!(error.to_string().contains("hosts.toml"), "{error}");
        }
    }
}
