//! Where the files of a build come from.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use container_buildkit::{Context as Directory, Sources, Store};
use container_resource::digest::Digest;
use sha2::{Digest as _, Sha256};

use super::dockerfile::Dockerfile;
use super::piped;
use crate::failure::Failure;

/// Bytes by which a tar is known: the magic of its first header ends there.
const HEAD: usize = 512;
/// The name of a context that is uploaded.
const UPLOAD: &str = "context";

/// The files, opened.
#[derive(Debug)]
pub struct Source {
    files: Files,
    dockerfile: Dockerfile,
    /// Names the place, for what a builder has of it already.
    place: PathBuf,
}

#[derive(Debug)]
enum Files {
    Directory(Directory),
    /// A tar that was standard input.
    Tar(File),
    /// An address, which the builder fetches from.
    Elsewhere(String),
}

impl Source {
    /// Opens what `context` and `file` say: a directory, or `-`.
    pub fn open(context: &str, file: Option<&Path>) -> Result<Self, Failure> {
        if context == "-" {
            return standard_input(file);
        }
        if is_elsewhere(context) {
            let dockerfile = match file {
                Some(path) if path == Path::new("-") => {
                    Dockerfile::read(Vec::new(), std::io::stdin())?
                }
                file => Dockerfile::inside(file)?,
            };
            return Ok(Self {
                files: Files::Elsewhere(context.to_owned()),
                dockerfile,
                place: PathBuf::from(context),
            });
        }
        let path = Path::new(context);
        let failed = || format!("the build context '{context}'");
        let directory = Directory::open(path).with_context(failed)?;
        let place = std::fs::canonicalize(path).with_context(failed)?;
        Ok(Self {
            files: Files::Directory(directory),
            dockerfile: Dockerfile::find(path, file)?,
            place,
        })
    }

    /// Adds them to what is asked for, and to what the builder may ask for. Gives the Dockerfile's text, where it is on this side.
    pub fn add(
        self,
        attributes: &mut HashMap<String, String>,
        sources: &mut Sources,
    ) -> Result<Option<String>, Failure> {
        sources.shared_key = shared_key(&self.place);
        match self.files {
            Files::Directory(directory) => {
                sources.contexts.insert("context".to_owned(), directory);
            }
            Files::Tar(tar) => {
                let whole = tokio::fs::File::from_std(tar);
                sources.upload = Some((UPLOAD.to_owned(), Box::new(whole)));
                let address = format!("http://buildkit-session/{UPLOAD}");
                attributes.insert("context".to_owned(), address);
            }
            Files::Elsewhere(address) => {
                attributes.insert("context".to_owned(), address);
            }
        }
        self.dockerfile.add(attributes, sources)
    }
}

/// A tar, or a Dockerfile for which there are no files.
fn standard_input(file: Option<&Path>) -> Result<Source, Failure> {
    let mut head = Vec::new();
    let mut input = std::io::stdin().lock();
    let limit = HEAD as u64;
    let read = input.by_ref().take(limit).read_to_end(&mut head);
    read.context("standard input")?;
    if head.is_empty() {
        return Err(Failure::usage(
            "standard input is empty: a tar or a Dockerfile is expected",
        ));
    }
    if is_tar(&head) {
        let mut tar = piped::keep(&head, input).context("keep the tar on standard input")?;
        let dockerfile = Dockerfile::packed(file, &mut tar)?;
        return Ok(Source {
            files: Files::Tar(tar),
            dockerfile,
            place: PathBuf::from("-"),
        });
    }
    if file.is_some() {
        return Err(Failure::usage(
            "standard input is no tar: it is the Dockerfile, and there is no place for --file",
        ));
    }
    let directory = Directory::with_files(&[]).context("an empty context")?;
    Ok(Source {
        files: Files::Directory(directory),
        dockerfile: Dockerfile::read(head, input)?,
        place: PathBuf::from("-"),
    })
}

/// A tar, plain or compressed by what a builder unpacks.
fn is_tar(head: &[u8]) -> bool {
    let magics: [&[u8]; 4] = [b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    magics.iter().any(|magic| head.starts_with(magic)) || head.get(257..262) == Some(b"ustar")
}

/// Whether `context` is an address that the builder fetches from (Docker's reference of `docker build`: URLs and git repositories).
fn is_elsewhere(context: &str) -> bool {
    let addresses = [
        "http://",
        "https://",
        "git://",
        "git@",
        "ssh://",
        "github.com/",
    ];
    addresses.iter().any(|prefix| context.starts_with(prefix))
}

/// Digits that stand for `place`, on this machine alone.
fn shared_key(place: &Path) -> String {
    let mut hash = Sha256::new();
    hash.update(std::fs::read("/etc/machine-id").unwrap_or_default());
    hash.update(place.as_os_str().as_encoded_bytes());
    Digest::new(hash.finalize().into()).hex()
}

/// Adds directories of `--build-context`.
pub fn add_named(
    contexts: &[(String, String)],
    attributes: &mut HashMap<String, String>,
    sources: &mut Sources,
) -> Result<(), Failure> {
    for (name, value) in contexts {
        let key = format!("context:{name}");
        if value.starts_with("docker-image://") || is_elsewhere(value) {
            attributes.insert(key, value.clone());
            continue;
        }
        if let Some(place) = value.strip_prefix("oci-layout://") {
            let layout = layout(place).with_context(|| format!("--build-context {name}"))?;
            let id = format!("layout-{}", sources.stores.len());
            attributes.insert(key, format!("oci-layout://{id}@{}", layout.1));
            sources.stores.insert(format!("oci:{id}"), layout.0);
            continue;
        }
        if value.contains("://") {
            let text = format!(
                "--build-context {name}: a directory, an address, docker-image://<name> or oci-layout://<path> is expected"
            );
            return Err(anyhow!(text).into());
        }
        let opened = Directory::open(Path::new(value));
        let opened = opened.with_context(|| format!("--build-context {name}: '{value}'"))?;
        attributes.insert(key, format!("local:{name}"));
        sources.contexts.insert(name.clone(), opened);
    }
    Ok(())
}

/// The image layout that `<path>[:<tag>|@<digest>]` says, and the digest in it.
fn layout(place: &str) -> anyhow::Result<(Store, String)> {
    if let Some((path, digest)) = place.split_once('@') {
        return Ok((Store::read(Path::new(path)), digest.to_owned()));
    }
    let (path, tag) = match place.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, tag),
        _ => (place, "latest"),
    };
    let store = Store::read(Path::new(path));
    let digest = store.find(tag)?;
    Ok((store, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tar_is_known_by_its_first_bytes() {
        let mut tar = vec![0; HEAD];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(is_tar(&tar));
        assert!(is_tar(b"\x1f\x8b\x08\0"));
        assert!(!is_tar(b"FROM scratch\n"));
        assert!(!is_tar(b""));
    }

    #[test]
    fn what_is_elsewhere_is_known() {
        for context in [
            "https://example.test/x.git#main",
            "git@example.test:x",
            "github.com/a/b",
            "http://example.test/x.tar",
        ] {
            assert!(is_elsewhere(context), "{context}");
        }
        for context in [".", "../app", "/x.git", "git"] {
            assert!(!is_elsewhere(context), "{context}");
        }
    }
}
