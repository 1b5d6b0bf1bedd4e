//! Caches of a build: where it looks, and what it fills.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use clap::Args;
use container_buildkit::{CacheEntry, Connection, Solved, Sources, Store};

use super::pairs;
use crate::failure::Failure;
use crate::output;

/// What a cache in a directory is called where nobody names it, as buildx has it.
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

/// A kind, and what else is said of it.
type CacheWords = (String, Vec<(String, String)>);

fn cache(text: &str) -> Result<CacheWords, String> {
    let mut kind = String::new();
    let mut attributes = Vec::new();
    for (key, value) in pairs::parse(text)? {
        match (key.as_str(), value) {
            ("type", Some(value)) => kind = value,
            (_, Some(value)) => attributes.push((key, value)),
            // As docker has it: a name alone is a cache in a registry.
            (_, None) => {
                "registry".clone_into(&mut kind);
                attributes.push(("ref".to_owned(), key));
            }
        }
    }
    match kind.as_str() {
        "registry" | "inline" | "local" | "gha" | "s3" | "azblob" => Ok((kind, attributes)),
        "" => Err("type=<type> is expected".to_owned()),
        other => Err(format!(
            "unknown type '{other}' of a cache: registry, inline and local are known"
        )),
    }
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
            let is_everywhere = matches!(kind.as_str(), "inline" | "registry");
            if !is_everywhere && !connection.has_layouts() {
                let text = format!(
                    "a cache of type {kind} needs a builder with buildkitd, or a dockerd with containerd's image store"
                );
                return Err(anyhow!(text).into());
            }
        }
        let mut caches = Caches::default();
        for (number, words) in self.cache_from.iter().enumerate() {
            let mut entry = entry(words);
            if entry.kind == "local" {
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
            if entry.kind == "local" {
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
        kind: kind.clone(),
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
        assert_eq!((kind.as_str(), words[0].0.as_str()), ("registry", "ref"));
        assert_eq!(cache("type=inline").unwrap().0, "inline");
        assert_eq!(cache("type=local,dest=x").unwrap().0, "local");
        assert!(cache("mode=max").is_err());
        assert!(cache("type=x").unwrap_err().contains("unknown type"));
    }
}
