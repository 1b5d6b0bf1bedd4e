//! What an image says about the containers made of it (OCI image specification, config.md).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::health::ImageHealth;

/// The `config` object of an image configuration, as far as it is honoured. Every field may be missing or null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageSettings {
    /// `name|uid[:group|gid]`; empty: root.
    #[serde(deserialize_with = "or_default")]
    pub user: String,
    /// `KEY=value`.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// The first words of the command.
    #[serde(deserialize_with = "or_default")]
    pub entrypoint: Vec<String>,
    /// The words after them, unless others are given.
    #[serde(deserialize_with = "or_default")]
    pub cmd: Vec<String>,
    /// Empty: `/`.
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
    /// Free-form.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// Name or number; empty: SIGTERM.
    #[serde(deserialize_with = "or_default")]
    pub stop_signal: String,
    /// How health is checked.
    pub healthcheck: Option<ImageHealth>,
}

fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
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
                "WorkingDir": "/srv", "Labels": {"a": "b"}, "StopSignal": "SIGINT", "Healthcheck": {"Test": ["CMD", "true"]}, "ExposedPorts": {"80/tcp": {}}
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
    fn another_shape_is_an_error() {
        for config in [
            "",
            "7",
            r#"{"config": {"Cmd": "sh"}}"#,
            r#"{"config": {"User": 0}}"#,
        ] {
            assert!(ImageSettings::parse(config.as_bytes()).is_err(), "{config}");
        }
    }
}
