//! The list of what a layout holds: `index.json`.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::{ContentError, Store, failed};

/// The file.
const NAME: &str = "index.json";
/// Its largest size, in bytes.
const LIMIT: u64 = 4 << 20;
/// The annotation that names an entry.
const REFERENCE: &str = "org.opencontainers.image.ref.name";

impl Store {
    fn index_path(&self) -> PathBuf {
        self.directory.join(NAME)
    }

    /// The digest of the entry `tag`, or of the only one.
    ///
    /// # Errors
    /// See [`ContentError`].
    pub fn find(&self, tag: &str) -> Result<String, ContentError> {
        let entries = self.entries()?;
        let named = entries
            .iter()
            .find(|entry| entry["annotations"][REFERENCE] == tag);
        let only = (entries.len() == 1).then(|| &entries[0]);
        let digest = named.or(only).and_then(|entry| entry["digest"].as_str());
        let missing = || ContentError::Index {
            path: self.index_path().display().to_string(),
            reason: format!("'{tag}' is not in it"),
        };
        digest.map(str::to_owned).ok_or_else(missing)
    }

    fn entries(&self) -> Result<Vec<Value>, ContentError> {
        let path = self.index_path();
        let mut text = Vec::new();
        std::fs::File::open(&path)
            .and_then(|file| file.take(LIMIT + 1).read_to_end(&mut text))
            .map_err(|error| failed(&path, error))?;
        let odd = |reason: String| ContentError::Index {
            path: path.display().to_string(),
            reason,
        };
        if text.len() as u64 > LIMIT {
            return Err(odd(format!("it has more than {LIMIT} bytes")));
        }
        let mut whole: Value =
            serde_json::from_slice(&text).map_err(|error| odd(error.to_string()))?;
        match whole.get_mut("manifests").map(Value::take) {
            Some(Value::Array(entries)) => Ok(entries),
            _ => Err(odd("it has no manifests".to_owned())),
        }
    }

    /// Names the blob that `descriptor` (JSON) tells of `tag`. What had that name has none any more.
    ///
    /// # Errors
    /// See [`ContentError`].
    pub fn name(&self, descriptor: &str, tag: &str) -> Result<(), ContentError> {
        let path = self.index_path();
        let mut entry: Map<String, Value> =
            serde_json::from_str(descriptor).map_err(|error| ContentError::Index {
                path: path.display().to_string(),
                reason: error.to_string(),
            })?;
        // What the list holds stays in it; a list that is none is written anew.
        let mut entries = self.entries().unwrap_or_default();
        entries.retain(|entry| entry["annotations"][REFERENCE] != tag);
        let mut annotations = match entry.remove("annotations") {
            Some(Value::Object(annotations)) => annotations,
            _ => Map::new(),
        };
        annotations.insert(REFERENCE.to_owned(), tag.into());
        entry.insert("annotations".to_owned(), annotations.into());
        entries.push(entry.into());
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": entries,
        });
        let layout = r#"{"imageLayoutVersion":"1.0.0"}"#;
        self.write("oci-layout", layout)?;
        self.write(NAME, &format!("{index:#}\n"))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), ContentError> {
        let path = self.directory.join(name);
        let written = tempfile::NamedTempFile::new_in(&self.directory).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            rustix::fs::fchmod(file.as_file(), rustix::fs::Mode::from_raw_mode(0o644))?;
            file.as_file().sync_data()?;
            file.persist(&path).map_err(|error| error.error)
        });
        written.map(drop).map_err(|error| failed(&path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_the_last_that_got_it() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::fill(place.path()).unwrap();
        assert!(store.find("latest").is_err());
        for digest in ["sha256:a", "sha256:b"] {
            let descriptor = format!(r#"{{"digest":"{digest}","size":3}}"#);
            store.name(&descriptor, "latest").unwrap();
        }
        // The only one is meant, whatever it is called.
        assert_eq!(store.find("other").unwrap(), "sha256:b");
        store.name(r#"{"digest":"sha256:c"}"#, "other").unwrap();
        assert_eq!(store.find("latest").unwrap(), "sha256:b");
        assert_eq!(store.find("other").unwrap(), "sha256:c");
        assert!(store.find("none").is_err());
        assert!(place.path().join("oci-layout").is_file());
        for odd in ["[]", "1", r#"{"digest":1,"annotations":[]}"#] {
            let _ = store.name(odd, "odd");
        }
        std::fs::write(place.path().join(NAME), "[]").unwrap();
        assert!(store.find("latest").is_err());
    }
}
