//! `index.json`: which name stands for which image.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use container_files::Links;
use container_resource::digest::Digest;
use container_resource::image::Descriptor;
use container_resource::label::well_known::OCI_REF_NAME;
use serde::{Deserialize, Serialize};

use super::atomic;
use super::paths::Paths;
use super::{Store, StoreError};
use crate::image::annotations;
use crate::image::media::INDEX;

/// Start of the names of images that came without one; their digest follows.
pub const UNTAGGED: &str = "untagged@";

/// Most bytes of an index: some 500,000 names.
const MAX_INDEX: u64 = 256 << 20;

/// Content of the file `oci-layout`.
pub const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

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
            .insert(OCI_REF_NAME.into(), name.clone());
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

impl TryFrom<Document> for Names {
    type Error = serde_json::Error;

    /// Descriptors without a name get one from their digest. One with an invalid digest was not written here.
    fn try_from(document: Document) -> Result<Self, Self::Error> {
        let mut names = Self::default();
        for descriptor in document.manifests {
            let digest: Result<Digest, _> = descriptor.digest.parse();
            digest.map_err(<serde_json::Error as serde::de::Error>::custom)?;
            let name = descriptor
                .annotations
                .as_ref()
                .and_then(|all| all.get(OCI_REF_NAME))
                .cloned();
            let name = name.unwrap_or_else(|| format!("{UNTAGGED}{}", descriptor.digest));
            names.insert(name, descriptor);
        }
        Ok(names)
    }
}

/// Makes sure that there is a layout.
pub(super) fn open(paths: &Paths) -> Result<(), StoreError> {
    let layout = paths.content().join("oci-layout");
    atomic::write(&layout, LAYOUT).map_err(StoreError::file(&layout))?;
    let missing = match load(&paths.index()) {
        Ok(Some(names)) if !paths.index_copy().exists() => return write(paths, &names),
        // It was never written, or it was removed; the copy tells.
        Ok(None) => match read(paths) {
            Err(StoreError::Gone(_)) => Ok(Names::default()),
            read => read,
        },
        Ok(Some(_)) => return Ok(()),
        Err(error) => Err(error),
    };
    match missing {
        Ok(names) => write(paths, &names),
        // Others are served all the same. Who asks for images is told, and nothing is written over what is damaged.
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the index cannot be read"
            );
            Ok(())
        }
    }
}

/// The names of the index, or those of its copy where the index is damaged.
pub(super) fn read(paths: &Paths) -> Result<Names, StoreError> {
    let damage = match load(&paths.index()) {
        Ok(Some(names)) => return Ok(names),
        Ok(None) => None,
        Err(error @ StoreError::Index { .. }) => Some(error),
        Err(StoreError::File { source, .. }) if source.kind() == io::ErrorKind::NotADirectory => {
            return Err(gone(paths));
        }
        Err(error) => return Err(error),
    };
    match (load(&paths.index_copy()), damage) {
        (Ok(Some(names)), damage) => {
            if let Some(damage) = damage {
                tracing::warn!(
                    error = &damage as &dyn std::error::Error,
                    "the copy of the index is used"
                );
            }
            Ok(names)
        }
        (_, Some(damage)) => Err(damage),
        // It is written when the store is opened.
        (Ok(None), None) => Err(gone(paths)),
        (Err(error), None) => Err(error),
    }
}

/// No index is there, though one was.
fn gone(paths: &Paths) -> StoreError {
    let content = paths.content();
    let is_there = content.is_dir();
    let missing = if is_there { paths.index() } else { content };
    StoreError::Gone(missing.display().to_string())
}

/// Sees that there is a store to put something into.
pub(super) fn check_present(paths: &Paths) -> Result<(), StoreError> {
    if paths.index().exists() || paths.index_copy().exists() {
        return Ok(());
    }
    Err(gone(paths))
}

/// The names in one file; `None`: there is no such file.
fn load(path: &Path) -> Result<Option<Names>, StoreError> {
    let damaged = |source| StoreError::Index {
        path: path.display().to_string(),
        source,
    };
    let bytes = match container_files::read(path, MAX_INDEX, Links::Refuse) {
        Ok(bytes) => bytes,
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => return Ok(None),
            // No regular file, or one that no store has written.
            io::ErrorKind::InvalidData => return Err(damaged(serde_json::Error::io(error))),
            _ => return Err(StoreError::file(path)(error)),
        },
    };
    let names = serde_json::from_slice::<Document>(&bytes).and_then(Names::try_from);
    names.map(Some).map_err(damaged)
}

/// Writes the index, then its copy: a crash in between leaves a copy that lacks the last change. What is damaged is put
/// aside before something takes its place.
pub(super) fn write(paths: &Paths, names: &Names) -> Result<(), StoreError> {
    let document = Document {
        schema_version: 2,
        media_type: INDEX.into(),
        manifests: names.0.values().cloned().collect(),
    };
    let index = paths.index();
    let bytes = serde_json::to_vec_pretty(&document)
        .map_err(|error| StoreError::file(&index)(io::Error::other(error)))?;
    if matches!(load(&index), Err(StoreError::Index { .. })) {
        let aside = index.with_extension(format!("damaged-{}.json", uuid::Uuid::new_v4()));
        tracing::error!(aside = %aside.display(), "the damaged index is put aside");
        fs::rename(&index, &aside).map_err(StoreError::file(&index))?;
    }
    for path in [index, paths.index_copy()] {
        atomic::write(&path, &bytes).map_err(StoreError::file(&path))?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use container_resource::reference::DEFAULT_DOMAIN;

    use super::*;

    const DAMAGE: [&str; 5] = [
        "",
        "{",
        "{}",
        "[]",
        r#"{"schemaVersion":2,"manifests":[{"mediaType":"m","digest":"sha256:0","size":1}]}"#,
    ];

    fn store(scratch: &tempfile::TempDir) -> Result<Store, StoreError> {
        Store::open(Paths::new(scratch.path().to_path_buf()), DEFAULT_DOMAIN)
    }

    fn add(store: &Store, name: &str) -> Result<(), StoreError> {
        let descriptor = Descriptor::new("m", Digest::new([1; 32]), 1);
        let change = |names: &mut Names| names.insert(name.to_owned(), descriptor);
        store.change_names(&store.lock(), change).map(drop)
    }

    fn names(store: &Store) -> Vec<String> {
        let names = store.names().unwrap();
        names.iter().map(|(name, _)| name.to_owned()).collect()
    }

    #[test]
    fn a_damaged_index_loses_nothing_and_is_kept() {
        for damage in DAMAGE {
            let scratch = tempfile::tempdir().unwrap();
            let first = store(&scratch).unwrap();
            add(&first, "one").unwrap();
            let index = first.paths().index();
            fs::write(&index, damage).unwrap();
            // While it runs, and after a start.
            assert_eq!(names(&first), ["one"], "{damage}");
            let second = store(&scratch).unwrap();
            assert_eq!(names(&second), ["one"], "{damage}");
            assert_eq!(fs::read_to_string(&index).unwrap(), damage);
            add(&second, "two").unwrap();
            assert_eq!(names(&second), ["one", "two"]);
            assert!(matches!(load(&index), Ok(Some(_))));
            let aside = super::super::paths::entries(&second.paths().content())
                .find(|path| path.to_str().is_some_and(|text| text.contains("damaged")))
                .unwrap();
            assert_eq!(fs::read_to_string(aside).unwrap(), damage);
        }
    }

    #[test]
    fn what_is_no_regular_file_holds_nobody_up() {
        let fifo = |path: &Path| {
            let _ = fs::remove_file(path);
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).unwrap();
        };
        let scratch = tempfile::tempdir().unwrap();
        let first = store(&scratch).unwrap();
        add(&first, "one").unwrap();
        fifo(&first.paths().index());
        fifo(&first.paths().leases().join("box"));
        let blob = Digest::new([9; 32]);
        fifo(&first.paths().blob(blob));
        let second = store(&scratch).unwrap();
        assert_eq!(names(&second), ["one"]);
        assert!(second.read_blob(blob, 1).is_err());
        let guard = second.lock();
        assert!(second.leases().held(&guard).is_empty());
        second.leases().take(&guard, "box", &[blob]).unwrap();
        assert_eq!(second.leases().held(&guard), [blob]);
    }

    #[test]
    fn without_a_copy_everybody_is_told_and_nothing_is_written_or_removed() {
        for damage in DAMAGE {
            let scratch = tempfile::tempdir().unwrap();
            let first = store(&scratch).unwrap();
            let blob = first.paths().blob(Digest::new([9; 32]));
            fs::write(&blob, "x").unwrap();
            for path in [first.paths().index(), first.paths().index_copy()] {
                fs::write(path, damage).unwrap();
            }
            let second = store(&scratch).unwrap();
            assert!(matches!(second.names(), Err(StoreError::Index { .. })));
            assert!(matches!(add(&second, "x"), Err(StoreError::Index { .. })));
            let collected = second.collect(&second.lock());
            assert!(matches!(collected, Err(StoreError::Index { .. })));
            assert!(blob.exists());
            assert_eq!(fs::read_to_string(second.paths().index()).unwrap(), damage);
        }
    }

    #[test]
    fn an_index_that_was_taken_away_comes_from_its_copy() {
        let scratch = tempfile::tempdir().unwrap();
        let first = store(&scratch).unwrap();
        add(&first, "one").unwrap();
        fs::remove_file(first.paths().index()).unwrap();
        assert_eq!(names(&store(&scratch).unwrap()), ["one"]);
        assert!(first.paths().index().exists());
        // A damaged copy does no harm, and is written again.
        fs::write(first.paths().index_copy(), "{").unwrap();
        add(&first, "two").unwrap();
        assert!(matches!(load(&first.paths().index_copy()), Ok(Some(_))));
    }
}
