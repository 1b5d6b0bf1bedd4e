//! References to images: `[domain/]path[:tag][@digest]` (distribution project, `reference/reference.go`).

use std::fmt;
use std::str::FromStr;

use crate::digest::{Digest, DigestError};
use crate::host_name::is_label;

/// The registry of references that name none.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The tag of references that have neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";

const MAX_LENGTH: usize = 384;
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// A normalised reference: `docker.io/library/busybox:latest`.
///
/// When a text has both a tag and a digest, the digest says which image is meant and the tag is dropped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    version: Version,
}

/// A version of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// A name that may move.
    Tag(String),
    /// Content.
    Digest(Digest),
}

/// Why a text is no reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// More than 384 bytes, or a name of more than 255.
    #[error("invalid image reference: it is too long")]
    TooLong,
    /// 64 hexadecimal digits alone would be taken for an id.
    #[error("invalid image reference '{0}': 64 hexadecimal digits name an image's id")]
    Id(String),
    /// The registry's name or port.
    #[error("invalid image reference '{0}': malformed registry")]
    Domain(String),
    /// The repository's path.
    #[error(
        "invalid image reference '{0}': a repository has lower-case letters and digits, \
         separated by '/', '.', '_', '__' or '-'"
    )]
    Path(String),
    /// The tag.
    #[error("invalid image reference '{0}': a tag has up to 128 letters, digits, '_', '.' and '-'")]
    Tag(String),
    /// The digest.
    #[error("invalid image reference '{text}'")]
    Digest {
        /// The whole text.
        text: String,
        /// What is wrong.
        #[source]
        source: DigestError,
    },
}

impl Reference {
    /// Parses and normalises; `default_domain` stands for a missing registry.
    ///
    /// # Errors
    /// The first rule that `text` breaks.
    pub fn parse(text: &str, default_domain: &str) -> Result<Self, ReferenceError> {
        if text.len() > MAX_LENGTH {
            return Err(ReferenceError::TooLong);
        }
        if Digest::from_hex(text).is_ok() {
            return Err(ReferenceError::Id(text.to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        let (domain, path) = split_domain(name, default_domain);
        if !is_domain(domain) {
            return Err(ReferenceError::Domain(text.to_owned()));
        }
        let domain = if domain == "index.docker.io" {
            DEFAULT_DOMAIN
        } else {
            domain
        };
        let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        if !path.split('/').all(is_path_component) {
            return Err(ReferenceError::Path(text.to_owned()));
        }
        if domain.len() + 1 + path.len() > MAX_NAME {
            return Err(ReferenceError::TooLong);
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag(text.to_owned()));
        }
        let version = match digest {
            Some(digest) => {
                Version::Digest(digest.parse().map_err(|source| ReferenceError::Digest {
                    text: text.to_owned(),
                    source,
                })?)
            }
            None => Version::Tag(tag.unwrap_or(DEFAULT_TAG).to_owned()),
        };
        Ok(Self {
            domain: domain.to_owned(),
            path,
            version,
        })
    }

    /// The registry as written: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Tag or digest.
    pub fn version(&self) -> &Version {
        &self.version
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text, DEFAULT_DOMAIN)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        match &self.version {
            Version::Tag(tag) => write!(f, ":{tag}"),
            Version::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

/// A colon behind the last slash starts a tag; one before it, a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

/// Whether `text` in front of a path is taken for a registry, so that a normalised reference with it stays as it
/// is when it is parsed again: `registry.example`, `localhost:5000`; not `registry`.
pub fn is_registry(text: &str) -> bool {
    is_domain(text) && split_domain(&format!("{text}/x"), "") == (text, "x")
}

/// The first part is a registry when it cannot be a repository: it has a dot, a colon or an upper-case letter, or is `localhost`.
fn split_domain<'t>(name: &'t str, default: &'t str) -> (&'t str, &'t str) {
    match name.split_once('/') {
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.chars().any(|c| c.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (default, name),
    }
}

/// A host name, an IPv4 address or an IPv6 address in brackets; an optional port.
pub(crate) fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            (
                None,
                if rest.is_empty() {
                    None
                } else {
                    rest.strip_prefix(':').or(Some("x"))
                },
            )
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        },
    };
    let port_holds = port.is_none_or(|port| {
        port.bytes().all(|digit| digit.is_ascii_digit()) && port.parse::<u16>().is_ok()
    });
    port_holds && host.is_none_or(|host| host.split('.').all(is_label))
}

/// `[a-z0-9]+` runs, separated by `.`, `_`, `__` or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let at_ends = bytes.first().zip(bytes.last());
    if !at_ends.is_some_and(|(first, last)| is_word(*first) && is_word(*last)) {
        return false;
    }
    let separators = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    separators.into_iter().all(|separator| {
        matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
    })
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(is_word)
        && tag
            .bytes()
            .all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn normal_forms() {
        for (text, normal) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("docker.io/busybox", "docker.io/library/busybox:latest"),
            (
                "index.docker.io/library/busybox",
                "docker.io/library/busybox:latest",
            ),
            ("someone/thing", "docker.io/someone/thing:latest"),
            ("localhost/thing", "localhost/thing:latest"),
            (
                "localhost:5000/a/b_c.d--e__f:V1",
                "localhost:5000/a/b_c.d--e__f:V1",
            ),
            ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest"),
            ("[::1]:5000/x:t", "[::1]:5000/x:t"),
            ("Registry/x", "Registry/x:latest"),
        ] {
            assert_eq!(
                text.parse::<Reference>().unwrap().to_string(),
                normal,
                "{text}"
            );
        }
        let both = format!("x:tag@sha256:{HEX}").parse::<Reference>().unwrap();
        assert_eq!(
            both.to_string(),
            format!("docker.io/library/x@sha256:{HEX}")
        );
    }

    #[test]
    fn texts_that_are_none() {
        let long = "x".repeat(256);
        for text in [
            "",
            ":",
            ":tag",
            "@",
            "/",
            "a//b",
            "a/",
            "/a",
            "UPPER",
            "a:b:c",
            "a b",
            "a:",
            "a:-t",
            "..",
            "a/../b",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a_.b",
            "x@sha256:12",
            "x@sha512:12",
            "example.com:x/y",
            "[::1/x",
            "[x]/y",
            "[::1]x/y",
            "a.b-/c",
            "é",
            "host:99999/x",
            HEX,
            long.as_str(),
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_registry_is_told_from_a_path() {
        for (text, holds) in [
            ("docker.io", true),
            ("localhost", true),
            ("localhost:5000", true),
            ("[::1]:5000", true),
            ("Registry", true),
            ("registry", false),
            ("registry.example/path", false),
            ("https://registry.example", false),
            ("registry.example:port", false),
            ("", false),
        ] {
            assert_eq!(is_registry(text), holds, "{text}");
        }
    }

    proptest! {
        #[test]
        fn normal_form_is_stable(text in "[a-zA-Z0-9./:@_-]{1,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                let normal = reference.to_string();
                prop_assert_eq!(normal.parse::<Reference>().unwrap(), reference);
            }
        }

        #[test]
        fn nothing_panics(text in ".{0,400}") {
            let _ = text.parse::<Reference>();
        }
    }
}
