//! The result of a build, as it is printed.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use container_buildkit::Solved;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::output;

/// An image, or files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Digest of the image.
    pub id: Option<String>,
    /// Its names.
    pub names: Vec<String>,
    /// Where it was written.
    pub dest: Option<PathBuf>,
}

/// Where the builder says an image's digest.
const DIGEST: &str = "containerimage.digest";

impl Outcome {
    /// Of what was written to `dest`.
    pub fn written(dest: &Path, solved: &Solved) -> Self {
        Self {
            id: solved.response.get(DIGEST).cloned(),
            names: Vec::new(),
            dest: Some(dest.to_owned()),
        }
    }

    /// Prints its names, or where it is; `quiet`: its id.
    pub fn print(&self, quiet: bool) -> Result<(), Failure> {
        let is_stdout = self.dest.as_deref() == Some(Path::new("-"));
        match (&self.id, &self.dest) {
            _ if is_stdout => Ok(()),
            (Some(id), _) if quiet => output::write_lines([id]),
            (_, Some(dest)) => output::write_lines([dest.to_string_lossy()]),
            _ => output::write_lines(&self.names),
        }
    }

    /// What `--metadata-file` says: what the builder does, and the image's names and digest.
    fn metadata(&self, solved: &Solved) -> Value {
        let response = solved.response.iter();
        let mut all: Map<String, Value> = response
            .map(|(key, value)| (key.clone(), json(value)))
            .collect();
        if let Some(id) = &self.id {
            all.insert(DIGEST.to_owned(), Value::String(id.clone()));
        }
        if !self.names.is_empty() {
            all.insert("image.name".to_owned(), Value::String(self.names.join(",")));
        }
        Value::Object(all)
    }
}

/// As buildx shows it: a value that is an object, or base64 of one, is that object.
fn json(value: &str) -> Value {
    let decoded = BASE64.decode(value).ok();
    let text = decoded.as_deref().unwrap_or(value.as_bytes());
    let parsed = serde_json::from_slice(text).ok();
    parsed
        .filter(Value::is_object)
        .unwrap_or_else(|| Value::String(value.to_owned()))
}

/// Whether there is a directory for the file `path` of the option `name`: told before anything is built.
pub fn check_place(name: &str, path: Option<&Path>) -> Result<(), Failure> {
    let parent = path.and_then(Path::parent);
    let Some(parent) = parent.filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    let failed = || format!("{name}: {}", parent.display());
    let found = std::fs::metadata(parent).with_context(failed)?;
    if found.is_dir() {
        return Ok(());
    }
    let error = std::io::Error::from(std::io::ErrorKind::NotADirectory);
    Err(anyhow::Error::new(error).context(failed()).into())
}

/// Writes the files that were asked for.
pub fn write(
    outcome: &Outcome,
    solved: &Solved,
    iidfile: Option<&Path>,
    metadata_file: Option<&Path>,
) -> anyhow::Result<()> {
    if let (Some(path), Some(id)) = (iidfile, &outcome.id) {
        std::fs::write(path, id).with_context(|| format!("--iidfile {}", path.display()))?;
    }
    if let Some(path) = metadata_file {
        let text = format!("{:#}\n", outcome.metadata(solved));
        std::fs::write(path, text)
            .with_context(|| format!("--metadata-file {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_has_the_image_as_it_is_here() {
        let mut solved = Solved::default();
        let mut say = |key: &str, value: &str| {
            solved.response.insert(key.to_owned(), value.to_owned());
        };
        say(DIGEST, "sha256:builder");
        say("containerimage.descriptor", r#"{"size":3}"#);
        say("encoded", "eyJzaXplIjo0fQ==");
        say("text", "abcd");
        let outcome = Outcome {
            id: Some("sha256:here".to_owned()),
            names: vec!["a".to_owned(), "b".to_owned()],
            dest: None,
        };
        let metadata = outcome.metadata(&solved);
        assert_eq!(metadata[DIGEST], "sha256:here");
        assert_eq!(metadata["image.name"], "a,b");
        assert_eq!(metadata["containerimage.descriptor"]["size"], 3);
        assert_eq!(metadata["encoded"]["size"], 4);
        assert_eq!(metadata["text"], "abcd");
    }
}
