//! An image, as it is stored and shown (as Apple's container has it).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::Digest;
use crate::platform::Platform;

/// Names a blob (OCI image specification, descriptor.md).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the blob; empty if not given.
    #[serde(default, deserialize_with = "or_default")]
    pub media_type: String,
    /// `sha256:…`.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// Other addresses of the blob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urls: Option<Vec<String>>,
    /// Free-form.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "without_nulls"
    )]
    pub annotations: Option<BTreeMap<String, String>>,
    /// In an index: what the manifest is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Kind of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

/// Null is what many programs write for nothing.
pub(crate) fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn without_nulls<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    let all: Option<BTreeMap<String, Option<String>>> = Option::deserialize(deserializer)?;
    let some = |all: BTreeMap<String, Option<String>>| {
        let pairs = all.into_iter();
        pairs
            .filter_map(|(key, value)| Some((key, value?)))
            .collect()
    };
    Ok(all.map(some))
}

impl Descriptor {
    /// Of a blob, with nothing that is optional.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: digest.to_string(),
            size,
            urls: None,
            annotations: None,
            platform: None,
            artifact_type: None,
        }
    }
}

/// An image as `image list` and `image inspect` show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageResource {
    /// Digits of the digest that [`ImageConfiguration::descriptor`] names, without `sha256:`.
    pub id: String,
    /// What the name stands for.
    pub configuration: ImageConfiguration,
    /// One per platform whose content is here.
    pub variants: Vec<ImageVariant>,
}

/// An image's name and what it stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageConfiguration {
    /// When the image was made, as its first variant says; else the epoch.
    pub creation_date: Timestamp,
    /// Normalised reference.
    pub name: String,
    /// The index, or the manifest of an image for one platform.
    pub descriptor: Descriptor,
}

/// An image for one platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageVariant {
    /// Platform that it was built for.
    pub platform: Platform,
    /// Of the manifest.
    pub digest: String,
    /// Bytes of the manifest, the configuration and the layers, as stored.
    pub size: u64,
    /// OCI image configuration, as stored.
    pub config: serde_json::Value,
}

/// A registry that credentials are stored for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryLogin {
    /// Same as `name`.
    pub id: String,
    /// Host, with its port where one was given.
    pub name: String,
    /// Who logged in.
    pub username: String,
    /// When the first login was.
    pub creation_date: Timestamp,
    /// When the last one was.
    pub modification_date: Timestamp,
    /// Free-form.
    pub labels: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_say_nothing() {
        let text = r#"{"mediaType": null, "digest": "d", "size": 1, "urls": null, "platform": null,
                       "annotations": {"a": null, "b": "c"}}"#;
        let descriptor: Descriptor = serde_json::from_str(text).unwrap();
        assert_eq!(descriptor.media_type, "");
        assert_eq!(
            descriptor.annotations,
            Some(BTreeMap::from([("b".to_owned(), "c".to_owned())]))
        );
        for text in [
            r#"{"digest": "d"}"#,
            r#"{"size": 1}"#,
            r#"{"digest": "d", "size": -1}"#,
        ] {
            assert!(serde_json::from_str::<Descriptor>(text).is_err(), "{text}");
        }
    }
}
