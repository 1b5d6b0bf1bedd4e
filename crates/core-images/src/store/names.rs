//! `index.json`: which name stands for which image.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use container_resource::digest::Digest;
use container_resource::image::Descriptor;
use serde::{Deserialize, Serialize};

use super::atomic;
use super::paths::Paths;
use super::{Store, StoreError};
use crate::image::annotations;

/// The annotation that holds an image's name (image-spec, `annotations.md`).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Start of the names of images that came without one; their digest follows.
pub const UNTAGGED: &str = "untagged@";

/// Content of the file `oci-layout`.
pub const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The names of all images. A descriptor's digest is checked when it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<String, Descriptor>);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    manifests: Vec<Descriptor>,
}

impl Names {
    /// What `name` stands for.
    pub fn get(&self, name: &str) -> Option<&Descriptor> {
        self.0.get(name)
    }

    /// Lets `name` stand for `descriptor`; gives what it stood for.
    pub fn insert(&mut self, name: String, mut descriptor: Descriptor) -> Option<Descriptor> {
        // What it was called before, or elsewhere, is not its name any more.
        annotations::clear_names(&mut descriptor);
        descriptor
            .annotations
            .get_or_insert_default()
            .insert(REF_NAME.into(), name.clone());
        self.0.insert(name, descriptor)
    }

    /// Forgets `name`.
    pub fn remove(&mut self, name: &str) -> Option<Descriptor> {
        self.0.remove(name)
    }

    /// Sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Descriptor)> {
        self.0
            .iter()
            .map(|(name, descriptor)| (name.as_str(), descriptor))
    }
}

impl FromIterator<Descriptor> for Names {
    /// Descriptors without a name get one from their digest; those whose digest is none are left out.
    fn from_iter<I: IntoIterator<Item = Descriptor>>(descriptors: I) -> Self {
        let mut names = Self::default();
        for descriptor in descriptors {
            if descriptor.digest.parse::<Digest>().is_err() {
                tracing::warn!(
                    digest = descriptor.digest,
                    "index.json names what is no digest"
                );
                continue;
            }
            let name = descriptor
                .annotations
                .as_ref()
                .and_then(|all| all.get(REF_NAME))
                .cloned();
            let name = name.unwrap_or_else(|| format!("{UNTAGGED}{}", descriptor.digest));
            names.insert(name, descriptor);
        }
        names
    }
}

/// Makes sure that there is a layout. An index that can't be read is put aside, not deleted.
pub(super) fn open(paths: &Paths) -> Result<(), StoreError> {
    let layout = paths.content().join("oci-layout");
    atomic::write(&layout, LAYOUT).map_err(StoreError::file(&layout))?;
    let index = paths.index();
    match fs::read(&index) {
        Ok(bytes) if serde_json::from_slice::<Document>(&bytes).is_ok() => Ok(()),
        Ok(_) => {
            let aside = index.with_extension(format!("damaged-{}", uuid::Uuid::new_v4()));
            tracing::error!(path = %index.display(), aside = %aside.display(), "the index is damaged: starting with no names");
            fs::rename(&index, &aside).map_err(StoreError::file(&index))?;
            write(paths, &Names::default())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => write(paths, &Names::default()),
        Err(error) => Err(StoreError::file(&index)(error)),
    }
}

pub(super) fn read(paths: &Paths) -> Result<Names, StoreError> {
    let path = paths.index();
    let bytes = fs::read(&path).map_err(StoreError::file(&path))?;
    let document: Document = serde_json::from_slice(&bytes)
        .map_err(|error| StoreError::file(&path)(io::Error::other(error)))?;
    Ok(document.manifests.into_iter().collect())
}

pub(super) fn write(paths: &Paths, names: &Names) -> Result<(), StoreError> {
    let document = Document {
        schema_version: 2,
        media_type: INDEX.into(),
        manifests: names.0.values().cloned().collect(),
    };
    let path = paths.index();
    let bytes = serde_json::to_vec_pretty(&document)
        .map_err(|error| StoreError::file(&path)(io::Error::other(error)))?;
    atomic::write(&path, &bytes).map_err(StoreError::file(&path))
}

impl Store {
    /// Names of the images whose digest is, or starts with, `digits`.
    pub fn names_of_id(&self, digits: &str) -> Result<Vec<String>, StoreError> {
        let digits = digits.strip_prefix("sha256:").unwrap_or(digits);
        let is_id = digits.len() >= 4
            && digits.len() <= 64
            && digits
                .bytes()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if !is_id {
            return Ok(Vec::new());
        }
        let names = self.names()?;
        let starts = |descriptor: &Descriptor| {
            descriptor
                .digest
                .strip_prefix("sha256:")
                .is_some_and(|hex| hex.starts_with(digits))
        };
        Ok(names
            .iter()
            .filter(|(_, descriptor)| starts(descriptor))
            .map(|(name, _)| name.to_owned())
            .collect())
    }
}
