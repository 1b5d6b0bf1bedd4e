//! A directory whose files are sent to a builder when it asks for them: the sender's side of fsutil's protocol.

mod asked;
mod filter;
mod matcher;
mod names;
mod pattern;
mod send;
mod spool;
mod stat;
mod walk;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

pub use filter::Wanted;
pub use pattern::{Pattern, PatternError};
pub use send::send;

/// A directory, opened.
#[derive(Clone, Debug)]
pub struct Context {
    root: Arc<OwnedFd>,
    /// Names in the root that may be asked for; `None`: all.
    only: Option<Arc<Vec<String>>>,
    /// A directory of its own, which goes with it.
    _own: Option<Arc<TempDir>>,
}

/// Why a context cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// Something in it cannot be read.
    #[error("cannot read '{path}' of the build context")]
    Read {
        /// Its path in the context.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file is shorter than it was, or is no file any more.
    #[error("'{0}' of the build context was changed while it was sent")]
    Changed(String),
    /// A name that no image can have by this protocol.
    #[error("the name of '{0}' in the build context is not UTF-8: exclude it in .dockerignore")]
    Name(String),
    /// What the builder wants is no pattern.
    #[error("cannot tell which files of the build context the builder wants")]
    Pattern(#[from] PatternError),
    /// The builder asked for a file that was not announced.
    #[error("the builder asked for file {0} of the build context, which is not there")]
    Number(u32),
    /// The builder's own words.
    #[error("the builder does not take the build context: {0}")]
    Refused(String),
    /// No place for the paths.
    #[error("cannot keep the paths of the build context")]
    Spool(#[source] io::Error),
    /// The builder has gone away.
    #[error("the builder has stopped reading the build context")]
    Gone,
}

impl ContextError {
    fn read(path: &str, error: impl Into<io::Error>) -> Self {
        Self::Read {
            path: path.to_owned(),
            source: error.into(),
        }
    }
}

impl Context {
    /// The directory at `path`; a link to one is followed.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Nothing else is opened: opening a FIFO would block.
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self {
            root: Arc::new(root),
            only: None,
            _own: None,
        })
    }

    /// A directory with nothing but these files.
    ///
    /// # Errors
    /// When there is no place for them.
    pub fn with_files(files: &[(&str, &[u8])]) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        for (name, bytes) in files {
            std::fs::write(directory.path().join(name), bytes)?;
        }
        let opened = Self::open(directory.path())?;
        Ok(Self {
            _own: Some(Arc::new(directory)),
            ..opened
        })
    }

    /// Nothing but what has one of these names in the root, whatever the builder asks for.
    #[must_use]
    pub fn only(mut self, names: Vec<String>) -> Self {
        self.only = Some(Arc::new(names));
        self
    }

    fn has(&self, name: &str) -> bool {
        self.only
            .as_ref()
            .is_none_or(|names| names.iter().any(|known| known == name))
    }

    fn root(&self) -> &OwnedFd {
        &self.root
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_directory_is_refused_at_once() {
        let scratch = tempfile::tempdir().unwrap();
        let fifo = scratch.path().join("fifo");
        let (kind, mode) = (rustix::fs::FileType::Fifo, Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).unwrap();
        let error = Context::open(&fifo).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
        assert!(Context::open(scratch.path()).is_ok());
    }
}
