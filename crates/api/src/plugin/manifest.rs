//! What a plugin says of itself: its `config.toml`, or `config.json`, which older ones have.

use std::fmt;
use std::io;
use std::path::Path;

use container_files::Links;
use serde::Deserialize;

use crate::chain::about;

/// Bytes of a manifest at most.
const LIMIT: u64 = 1 << 20;

/// A manifest. Keys that are not known are for somebody else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// One line for the overview.
    pub r#abstract: String,
    /// Who made it.
    pub author: String,
    /// Its own version.
    pub version: String,
    /// What it serves; none: it is a command, for people.
    #[serde(rename = "servicesConfig")]
    pub services: Option<ServicesConfig>,
}

/// What a plugin serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServicesConfig {
    /// It is started with the system, if it is a core or an auxiliary service. The others are started when somebody needs them.
    pub load_at_boot: bool,
    /// The same: there is no service manager that would know a service before it runs.
    pub run_at_load: bool,
    /// Its arguments where it is started with the system.
    pub default_arguments: Vec<String>,
    services: Vec<Service>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Service {
    r#type: ServiceKind,
}

impl ServicesConfig {
    /// Each of its services.
    pub fn kinds(&self) -> impl Iterator<Item = ServiceKind> {
        self.services.iter().map(|service| service.r#type)
    }

    /// Whether the system starts it when it starts itself.
    pub fn starts_with_the_system(&self) -> bool {
        let wanted = self.load_at_boot || self.run_at_load;
        let lasting = |kind| matches!(kind, ServiceKind::Core | ServiceKind::Auxiliary);
        wanted && self.kinds().any(lasting)
    }
}

/// What a service is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceKind {
    /// One process for each container: `proto/runtime.proto`.
    Runtime,
    /// One process for each network: `proto/network.proto`.
    Network,
    /// One process of the system.
    Core,
    /// One process beside the system.
    Auxiliary,
}

impl fmt::Display for ServiceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Runtime => "runtime",
            Self::Network => "network",
            Self::Core => "core",
            Self::Auxiliary => "auxiliary",
        })
    }
}

/// The manifest in a plugin's `directory`; none where there is no such file.
///
/// # Errors
/// As `open(2)`; [`io::ErrorKind::InvalidData`] when it does not parse, with the place.
pub(super) fn read(directory: &Path) -> io::Result<Option<Manifest>> {
    let invalid = |path: &Path, text: String| {
        about(
            path.display(),
            io::Error::new(io::ErrorKind::InvalidData, text),
        )
    };
    let toml = directory.join("config.toml");
    if let Some(text) = text(&toml)? {
        let parsed = toml::from_str(&text);
        return parsed
            .map(Some)
            .map_err(|error| invalid(&toml, error.to_string().trim_end().to_owned()));
    }
    let json = directory.join("config.json");
    let Some(text) = text(&json)? else {
        return Ok(None);
    };
    let parsed = serde_json::from_str(&text);
    parsed
        .map(Some)
        .map_err(|error| invalid(&json, error.to_string()))
}

fn text(path: &Path) -> io::Result<Option<String>> {
    match container_files::read_text(path, LIMIT, Links::Follow) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(about(path.display(), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_form_is_read_and_the_place_of_a_mistake_is_told() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path();
        assert_eq!(read(directory).unwrap(), None);
        let json = r#"{"abstract": "a", "servicesConfig": {"loadAtBoot": true, "defaultArguments": ["start"],
            "services": [{"type": "auxiliary", "description": "d"}]}, "more": 1}"#;
        std::fs::write(directory.join("config.json"), json).unwrap();
        let old = read(directory).unwrap().unwrap();
        let toml = "abstract = \"a\"\n[servicesConfig]\nloadAtBoot = true\ndefaultArguments = [\"start\"]\n\
            [[servicesConfig.services]]\ntype = \"auxiliary\"\n";
        std::fs::write(directory.join("config.toml"), toml).unwrap();
        assert_eq!(read(directory).unwrap().unwrap(), old);
        assert!(old.services.unwrap().starts_with_the_system());
        std::fs::write(directory.join("config.toml"), "abstract = 1\n").unwrap();
        let error = crate::Error::caused(crate::Kind::Internal, read(directory).unwrap_err());
        assert!(error.message().contains("config.toml: "), "{error:#}");
        assert!(error.message().contains("line 1"), "{error:#}");
    }

    #[test]
    fn only_what_lasts_starts_with_the_system() {
        let starts = |kind: &str, more: &str| {
            let text = format!(
                "[servicesConfig]\n{more}\n[[servicesConfig.services]]\ntype = \"{kind}\"\n"
            );
            let manifest: Manifest = toml::from_str(&text).unwrap();
            manifest.services.unwrap().starts_with_the_system()
        };
        assert!(starts("core", "loadAtBoot = true"));
        assert!(starts("auxiliary", "runAtLoad = true"));
        assert!(!starts("auxiliary", ""));
        assert!(!starts("runtime", "loadAtBoot = true"));
    }
}
