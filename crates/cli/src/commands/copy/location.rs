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
        /// Absolute; a relative one is below the root.
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
                Self::Inside {
                    id: id.to_owned(),
                    path: PathBuf::from("/").join(OsStr::from_bytes(path)),
                }
            }
            _ => Self::Host(PathBuf::from(text)),
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
            ("web:", container("web", "/")),
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
        // Names are bytes.
        let name = OsString::from_vec(b"web:/tmp/\xff".to_vec());
        let Location::Inside { path, .. } = Location::from(name) else {
            panic!("a container's path");
        };
        assert_eq!(path.as_os_str().as_bytes(), b"/tmp/\xff");
    }
}
