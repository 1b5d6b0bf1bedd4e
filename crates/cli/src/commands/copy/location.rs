//! One side of a copy, as it is written on the command line.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};

/// Where a copy comes from or goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A tar on a standard stream.
    Stream,
    /// A path of the host.
    Host(PathBuf),
    /// In a container, or a volume.
    Inside {
        /// Its name.
        id: String,
        /// Absolute, as a relative one is below the root; or empty, which is nowhere.
        path: PathBuf,
    },
}

impl Location {
    /// Reads it from the command line, whatever bytes it has.
    pub fn parser() -> impl TypedValueParser<Value = Self> {
        OsStringValueParser::new().map(Self::from)
    }
}

impl From<OsString> for Location {
    /// What stands before the first colon is a container or a volume, unless it has a slash or begins with a dot: then the whole is a path.
    fn from(text: OsString) -> Self {
        let bytes = text.as_bytes();
        if bytes == b"-" {
            return Self::Stream;
        }
        let colon = bytes.iter().position(|byte| *byte == b':');
        let parts = colon.map(|colon| (&bytes[..colon], &bytes[colon + 1..]));
        match parts.and_then(|(id, path)| Some((std::str::from_utf8(id).ok()?, path))) {
            Some((id, path)) if !id.is_empty() && !id.contains('/') && !id.starts_with('.') => {
                let path = OsStr::from_bytes(path);
                Self::Inside {
                    id: id.to_owned(),
                    path: if path.is_empty() {
                        PathBuf::new()
                    } else {
                        PathBuf::from("/").join(path)
                    },
                }
            }
            _ => Self::Host(PathBuf::from(text)),
        }
    }
}

impl Location {
    /// Why nothing can be copied there, or from there: a name that has come out empty would else mean everything.
    pub fn problem(&self) -> Option<String> {
        match self {
            Self::Host(path) if path.as_os_str().is_empty() => {
                Some("SOURCE and DESTINATION cannot be empty".to_owned())
            }
            Self::Inside { id, path } if path.as_os_str().is_empty() => Some(format!(
                "there is no path behind '{id}:': '{id}:/' is all of it"
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn the_first_colon_parts_container_and_path() {
        let container = |id: &str, path: &str| Location::Inside {
            id: id.into(),
            path: path.into(),
        };
        for (text, expected) in [
            ("-", Location::Stream),
            (
                "web:/tmp/a-10:30:00.log",
                container("web", "/tmp/a-10:30:00.log"),
            ),
            ("web:tmp/x", container("web", "/tmp/x")),
            ("web:", container("web", "")),
            ("./x:y", Location::Host("./x:y".into())),
            ("/tmp/x:y", Location::Host("/tmp/x:y".into())),
            ("a/b:c", Location::Host("a/b:c".into())),
            ("../x:y", Location::Host("../x:y".into())),
            (":/x", Location::Host(":/x".into())),
            ("plain", Location::Host("plain".into())),
            ("web:/", container("web", "/")),
            ("/dev/stdout", Location::Host("/dev/stdout".into())),
        ] {
            assert_eq!(Location::from(OsString::from(text)), expected, "{text}");
        }
        for (text, words) in [
            ("web:/", None),
            ("-", None),
            ("", Some("cannot be empty")),
            ("web:", Some("no path behind 'web:'")),
        ] {
            let problem = Location::from(OsString::from(text)).problem();
            assert_eq!(problem.is_some(), words.is_some(), "{text}");
            let said = words.is_none_or(|words| problem.unwrap_or_default().contains(words));
            assert!(said, "{text}");
        }
        // Names are bytes.
        let name = OsString::from_vec(b"web:/tmp/\xff".to_vec());
        let Location::Inside { path, .. } = Location::from(name) else {
            panic!("a container's path");
        };
        assert_eq!(path.as_os_str().as_bytes(), b"/tmp/\xff");
    }
}
