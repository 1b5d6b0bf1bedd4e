//! One side of a copy, as it is written on the command line.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

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

impl FromStr for Location {
    type Err = Infallible;

    /// What stands before the first colon is a container or a volume, unless it has a slash or begins with a dot: then the whole is a path.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once(':') {
            None if text == "-" => Self::Stream,
            Some((id, path)) if !id.is_empty() && !id.contains('/') && !id.starts_with('.') => {
                Self::Inside {
                    id: id.to_owned(),
                    path: if path.starts_with('/') {
                        PathBuf::from(path)
                    } else {
                        PathBuf::from(format!("/{path}"))
                    },
                }
            }
            _ => Self::Host(PathBuf::from(text)),
        })
    }
}

#[cfg(test)]
mod tests {
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
            ("/dev/stdout", Location::Host("/dev/stdout".into())),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }
}
