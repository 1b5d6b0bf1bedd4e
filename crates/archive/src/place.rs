//! Where a copy goes: the rules of `cp` for either side, as Apple's tool has them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Missing,
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

/// Where a copy becomes what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The directory; it and those above it are made if they are missing.
    pub directory: PathBuf,
    /// The name there. Nothing: what is copied is the directory itself, and its contents go there.
    pub name: Option<OsString>,
}

impl Place {
    /// The path as a whole.
    pub fn path(&self) -> PathBuf {
        match &self.name {
            Some(name) => self.directory.join(name),
            None => self.directory.clone(),
        }
    }
}

/// Why a copy has no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// A directory cannot become a file.
    #[error("cannot copy a directory to {}, which is a file", .0.display())]
    File(PathBuf),
    /// The trailing slash says that there is a directory.
    #[error("there is no directory {}", .0.display())]
    NoDirectory(PathBuf),
    /// As a trailing slash says so.
    #[error("{} is not a directory", .0.display())]
    NotDirectory(PathBuf),
}

/// What a copy of `path` is called. Nothing where the path ends in no name (`/`, `x/.`, `..`): then the contents of the directory are
/// copied, and not the directory itself. A slash at the end is no part of it.
pub fn name(path: &Path) -> Option<&OsStr> {
    let text = path.as_os_str().as_bytes();
    let last = text
        .split(|byte| *byte == b'/')
        .rfind(|part| !part.is_empty())?;
    (!matches!(last, b"." | b"..")).then(|| OsStr::from_bytes(last))
}

/// Where a file, or a directory, that is called `base` goes when it is copied to `target`, which leads to `found`. Without a base it is the
/// root of its tree, whose contents alone have names.
///
/// # Errors
/// When what is there cannot take the copy: a directory onto a file, or a file with a closing slash onto what is no directory.
pub fn choose(
    base: Option<&OsStr>,
    is_directory: bool,
    target: &Path,
    found: Found,
) -> Result<Place, PlaceError> {
    let text = target.as_os_str().as_encoded_bytes();
    let slash = text.ends_with(b"/") || text.ends_with(b"/.");
    let itself = || match (target.parent(), target.file_name()) {
        (Some(parent), Some(name)) => Place {
            directory: if parent.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                parent.to_owned()
            },
            name: Some(name.to_owned()),
        },
        // `/`, `.`, `..`: they are there.
        _ => Place {
            directory: target.to_owned(),
            name: None,
        },
    };
    match (is_directory, found) {
        (_, Found::Directory) => Ok(Place {
            directory: target.to_owned(),
            name: base.map(OsStr::to_owned),
        }),
        (true, Found::File) => Err(PlaceError::File(target.to_owned())),
        (false, Found::File) if slash => Err(PlaceError::NotDirectory(target.to_owned())),
        (false, Found::Missing) if slash => Err(PlaceError::NoDirectory(target.to_owned())),
        (false, Found::File | Found::Missing) | (true, Found::Missing) => Ok(itself()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair of what is copied and what is there, by turns.
    #[test]
    fn every_pair_of_source_and_destination_has_its_answer() {
        let place = |is_directory: bool, target: &str, found: Found| {
            choose(
                Some(OsStr::new("src")),
                is_directory,
                Path::new(target),
                found,
            )
            .map(|place| place.path().display().to_string())
        };
        for (is_directory, target, found, expected) in [
            (false, "/d", Found::File, Some("/d")),
            (false, "/d", Found::Directory, Some("/d/src")),
            (false, "/d/", Found::Directory, Some("/d/src")),
            (false, "/d/new", Found::Missing, Some("/d/new")),
            (false, "/d/new/", Found::Missing, None),
            (false, "/d/", Found::File, None),
            (false, "/d/new/.", Found::Missing, None),
            (false, "/d/.", Found::File, None),
            (true, "/d/new/.", Found::Missing, Some("/d/new")),
            (true, "/d", Found::File, None),
            (true, "/d", Found::Directory, Some("/d/src")),
            (true, "/d/", Found::Directory, Some("/d/src")),
            (true, "/d/new", Found::Missing, Some("/d/new")),
            (true, "/d/new/", Found::Missing, Some("/d/new")),
            (false, "new", Found::Missing, Some("./new")),
            (false, ".", Found::Directory, Some("./src")),
        ] {
            assert_eq!(
                place(is_directory, target, found).ok().as_deref(),
                expected,
                "{is_directory} {target} {found:?}"
            );
        }
    }

    #[test]
    fn a_copy_is_called_as_its_path_ends() {
        for (path, expected) in [
            ("/etc/motd", Some("motd")),
            ("dir/", Some("dir")),
            ("dir//", Some("dir")),
            ("...", Some("...")),
            ("dir/.", None),
            ("dir/./", None),
            ("/dir/..", None),
            (".", None),
            ("..", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(name(Path::new(path)), expected.map(OsStr::new), "{path}");
        }
    }

    #[test]
    fn a_root_has_contents_only() {
        let place = choose(None, true, Path::new("/d"), Found::Directory).unwrap();
        assert_eq!(
            (place.name.clone(), place.path()),
            (None, PathBuf::from("/d"))
        );
    }
}
