//! Caches of a build: those that it reads, and those that it writes.

use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, anyhow};
use clap::Args;
use container_buildkit::{CacheEntry, Connection, Solved, Sources, Store};

use super::pairs;
use crate::failure::Failure;
use crate::output;

/// Default name of a cache in a directory, as with buildx.
const TAG: &str = "latest";
/// Where the builder says what it has written.
const MANIFEST: &str = "cache.manifest";

/// Caches.
#[derive(Args, Clone, Debug)]
pub struct CacheFlags {
    /// Cache to read: type=registry,ref=<name>, the name alone, or type=local,src=<directory>
    #[arg(long, alias = "cache-in", value_name = "CACHE", value_parser = cache)]
    cache_from: Vec<CacheWords>,

    /// Cache to write: type=inline, type=registry,ref=<name>[,mode=max] or type=local,dest=<directory>[,mode=max]
    #[arg(long, alias = "cache-out", value_name = "CACHE", value_parser = cache)]
    cache_to: Vec<CacheWords>,
}

/// Kinds of caches that BuildKit knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CacheKind {
    /// An image of its own in a registry.
    Registry,
    /// In the image that is built.
    Inline,
    /// A directory of this host.
    Local,
    /// The cache of GitHub Actions.
    GitHub,
    /// A bucket of S3.
    S3,
    /// Azure's blob storage.
    Azure,
}

impl CacheKind {
    const ALL: [Self; 6] = [
        Self::Registry,
        Self::Inline,
        Self::Local,
        Self::GitHub,
        Self::S3,
        Self::Azure,
    ];

    /// BuildKit's word.
    fn word(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Inline => "inline",
            Self::Local => "local",
            Self::GitHub => "gha",
            Self::S3 => "s3",
            Self::Azure => "azblob",
        }
    }

    /// Whether each builder has it, and not only one that takes image layouts.
    fn is_everywhere(self) -> bool {
        matches!(self, Self::Inline | Self::Registry)
    }
}

impl FromStr for CacheKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|kind| kind.word() == text);
        known.ok_or_else(|| {
            format!("unknown type '{text}' of a cache: registry, inline and local are known")
        })
    }
}

/// A kind, and the other attributes of the cache.
type CacheWords = (CacheKind, Vec<(String, String)>);

fn cache(text: &str) -> Result<CacheWords, String> {
    let mut kind = None;
    let mut attributes = Vec::new();
    for (key, value) in pairs::parse(text)? {
        match (key.as_str(), value) {
            ("type", Some(value)) if !value.is_empty() => kind = Some(value.parse()?),
            ("type", Some(_)) => kind = None,
            (_, Some(value)) => attributes.push((key, value)),
            // As docker has it: a name alone is a cache in a registry.
            (_, None) => {
                kind = Some(CacheKind::Registry);
                attributes.push(("ref".to_owned(), key));
            }
        }
    }
    let kind = kind.ok_or("type=<type> is expected")?;
    Ok((kind, attributes))
}

/// The caches of one build, opened.
#[derive(Debug, Default)]
pub struct Caches {
    /// To look into.
    pub from: Vec<CacheEntry>,
    /// To fill.
    pub to: Vec<CacheEntry>,
    /// The directory among those, and the name that the cache gets in it.
    filled: Option<(Store, String)>,
}

impl CacheFlags {
    /// Opens them, and lets the builder use those that are directories.
    pub fn open(&self, connection: &Connection, sources: &mut Sources) -> Result<Caches, Failure> {
        let all = self.cache_from.iter().chain(&self.cache_to);
        for (kind, _) in all {
            if !kind.is_everywhere() && !connection.has_layouts() {
                let text = format!(
                    "a cache of type {} needs a builder with buildkitd, or a dockerd with containerd's image store",
                    kind.word()
                );
                return Err(anyhow!(text).into());
            }
        }
        let mut caches = Caches::default();
        for (number, words) in self.cache_from.iter().enumerate() {
            let mut entry = entry(words);
            if words.0 == CacheKind::Local {
                let directory = take(&mut entry, "src")?;
                let tag = tag(&mut entry);
                let store = Store::read(Path::new(&directory));
                let digest = match store.find(&tag) {
                    Ok(digest) => digest,
                    // The first build of all finds none.
                    Err(error) => {
                        output::tell(format_args!("Warning: the cache is left out: {error}"));
                        continue;
                    }
                };
                let name = format!("from-{number}");
                entry.attributes.insert("src".to_owned(), name.clone());
                entry
                    .attributes
                    .entry("digest".to_owned())
                    .or_insert(digest);
                sources.stores.insert(format!("local:{name}"), store);
            }
            caches.from.push(entry);
        }
        for words in &self.cache_to {
            let mut entry = entry(words);
            if words.0 == CacheKind::Local {
                if caches.filled.is_some() {
                    return Err(Failure::usage("one --cache-to of type local is possible"));
                }
                let directory = take(&mut entry, "dest")?;
                let tag = tag(&mut entry);
                let store = Store::fill(Path::new(&directory)).context("--cache-to")?;
                // The builder is told a name of ours: it has no use for a path of the host.
                let name = "to".to_owned();
                entry.attributes.insert("dest".to_owned(), name.clone());
                sources
                    .stores
                    .insert(format!("local:{name}"), store.clone());
                caches.filled = Some((store, tag));
            }
            caches.to.push(entry);
        }
        Ok(caches)
    }
}

impl Caches {
    /// Gives what was written its name.
    pub fn name(&self, solved: &Solved) -> Result<(), Failure> {
        let written = solved.response.get(MANIFEST);
        if let (Some((store, tag)), Some(descriptor)) = (&self.filled, written) {
            store.name(descriptor, tag).context("--cache-to")?;
        }
        Ok(())
    }
}

fn entry((kind, attributes): &CacheWords) -> CacheEntry {
    CacheEntry {
        kind: kind.word().to_owned(),
        attributes: attributes.iter().cloned().collect(),
    }
}

fn take(entry: &mut CacheEntry, key: &str) -> Result<String, Failure> {
    let value = entry.attributes.remove(key);
    value.filter(|value| !value.is_empty()).ok_or_else(|| {
        Failure::usage(format!(
            "a cache of type local: {key}=<directory> is expected"
        ))
    })
}

fn tag(entry: &mut CacheEntry) -> String {
    let tag = entry.attributes.remove("tag");
    tag.unwrap_or_else(|| TAG.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches() {
        let (kind, words) = cache("example/cache").unwrap();
        assert_eq!((kind.word(), words[0].0.as_str()), ("registry", "ref"));
        assert_eq!(cache("type=inline").unwrap().0, CacheKind::Inline);
        assert_eq!(cache("type=local,dest=x").unwrap().0, CacheKind::Local);
        assert!(cache("mode=max").is_err());
        assert!(cache("type=x").unwrap_err().contains("unknown type"));
    }
}
