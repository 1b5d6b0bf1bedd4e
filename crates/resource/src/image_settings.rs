//! What an image says about the containers made of it (OCI image specification, config.md).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::health::ImageHealth;
use crate::image::or_default;

/// The `config` object of an image configuration, as far as it is honoured. Every field may be missing or null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageSettings {
    /// `name|uid[:group|gid]`; empty: root.
    #[serde(deserialize_with = "or_default")]
    pub user: String,
    /// `KEY=value`.
    #[serde(deserialize_with = "texts")]
    pub env: Vec<String>,
    /// The first words of the command.
    #[serde(deserialize_with = "texts")]
    pub entrypoint: Vec<String>,
    /// The words after them, unless others are given.
    #[serde(deserialize_with = "texts")]
    pub cmd: Vec<String>,
    /// What runs a line of shell; empty: `/bin/sh -c`.
    #[serde(deserialize_with = "texts")]
    pub shell: Vec<String>,
    /// Empty: `/`.
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
    /// Free-form.
    #[serde(deserialize_with = "labels")]
    pub labels: BTreeMap<String, String>,
    /// Name or number; empty: SIGTERM.
    #[serde(deserialize_with = "or_default")]
    pub stop_signal: String,
    /// Paths that are to be volumes.
    #[serde(deserialize_with = "keys")]
    pub volumes: Vec<String>,
    /// How health is checked.
    pub healthcheck: Option<ImageHealth>,
    /// Ports that its programs listen at: `<port>[-<port>][/<protocol>]`.
    #[serde(deserialize_with = "keys")]
    pub exposed_ports: Vec<String>,
}

/// A list of texts as Docker reads it: one text stands for a list of one, null for nothing.
pub(crate) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a text or a list of texts is expected")]
    enum Texts {
        One(String),
        More(Vec<Option<String>>),
    }
    Ok(match Option::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Texts::One(text)) => vec![text],
        Some(Texts::More(texts)) => texts.into_iter().map(Option::unwrap_or_default).collect(),
    })
}

/// The keys of a map, whose values mean nothing; null is the empty one.
fn keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let all: Option<BTreeMap<String, serde_json::Value>> = Option::deserialize(deserializer)?;
    Ok(all.unwrap_or_default().into_keys().collect())
}

/// A map of texts; null is the empty one.
fn labels<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let all: Option<BTreeMap<String, Option<String>>> = Option::deserialize(deserializer)?;
    let all = all.unwrap_or_default().into_iter();
    Ok(all
        .map(|(key, value)| (key, value.unwrap_or_default()))
        .collect())
}

/// Not an image configuration.
#[derive(Debug, thiserror::Error)]
#[error("the image's configuration is malformed")]
pub struct ImageSettingsError(#[from] serde_json::Error);

impl ImageSettings {
    /// The settings in an image configuration, a JSON document.
    ///
    /// # Errors
    /// When it is not JSON of the right shape.
    pub fn parse(config: &[u8]) -> Result<Self, ImageSettingsError> {
        #[derive(Deserialize)]
        struct Configuration {
            #[serde(default, deserialize_with = "or_default")]
            config: ImageSettings,
        }
        let configuration: Configuration = serde_json::from_slice(config)?;
        Ok(configuration.config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_is_read() {
        let config = br#"{
            "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
            "config": {
                "User": "nobody:nogroup", "Env": ["PATH=/bin"], "Entrypoint": ["/init"], "Cmd": ["-v"],
                "WorkingDir": "/srv", "Labels": {"a": "b"}, "StopSignal": "SIGINT", "Healthcheck": {"Test": ["CMD", "true"]}, "Shell": ["/bin/ash", "-ec"], "ExposedPorts": {"80/tcp": {}}
            }
        }"#;
        let settings = ImageSettings::parse(config).unwrap();
        assert_eq!(settings.user, "nobody:nogroup");
        assert_eq!(settings.entrypoint, ["/init"]);
        assert_eq!(settings.cmd, ["-v"]);
        assert_eq!(settings.env, ["PATH=/bin"]);
        assert_eq!(settings.working_dir, "/srv");
        assert_eq!(settings.labels["a"], "b");
        assert_eq!(settings.stop_signal, "SIGINT");
        assert!(settings.healthcheck.is_some());
        assert_eq!(settings.shell, ["/bin/ash", "-ec"]);
    }

    #[test]
    fn null_and_nothing_are_the_same() {
        for config in [
            r"{}",
            r#"{"config": null}"#,
            r#"{"config": {"Cmd": null, "Labels": null, "User": null}}"#,
        ] {
            assert_eq!(
                ImageSettings::parse(config.as_bytes()).unwrap(),
                ImageSettings::default()
            );
        }
    }

    #[test]
    fn one_text_stands_for_a_list_of_one() {
        let config = br#"{"config": {"Cmd": "sh -c", "Entrypoint": "/init", "Env": [null, "A=b"],
                          "Labels": {"a": null}, "Healthcheck": {"Test": "NONE"}}}"#;
        let settings = ImageSettings::parse(config).unwrap();
        assert_eq!(settings.cmd, ["sh -c"]);
        assert_eq!(settings.entrypoint, ["/init"]);
        assert_eq!(settings.env, ["", "A=b"]);
        assert_eq!(settings.labels["a"], "");
        let health = settings.healthcheck.unwrap();
        assert_eq!(health.test, ["NONE"]);
    }

    #[test]
    fn another_shape_is_an_error() {
        for config in [
            "",
            "7",
            r#"{"config": {"Cmd": 7}}"#,
            r#"{"config": {"Cmd": {"a": "b"}}}"#,
            r#"{"config": {"User": 0}}"#,
        ] {
            assert!(ImageSettings::parse(config.as_bytes()).is_err(), "{config}");
        }
    }
}
