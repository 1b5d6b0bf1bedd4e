//! A new mount by fsopen(2), fsconfig(2) and fsmount(2).

use std::io;
use std::os::fd::OwnedFd;

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};
use thiserror::Error;

/// Why a file system was not mounted.
#[derive(Debug, Error)]
pub enum FilesystemError {
    /// The kernel has no such file system.
    #[error("the file system type {0:?} is not available")]
    Type(String, #[source] io::Error),
    /// An option that the file system does not take.
    #[error("{fs} does not take the option {option:?}{}", said(.log))]
    Option {
        fs: String,
        option: String,
        log: String,
        #[source]
        source: io::Error,
    },
    /// The source or the combination of options.
    #[error("{fs} cannot be mounted{}", said(.log))]
    Create {
        fs: String,
        log: String,
        #[source]
        source: io::Error,
    },
}

fn said(log: &str) -> String {
    if log.is_empty() {
        String::new()
    } else {
        format!(" ({log})")
    }
}

/// A file system that is being configured.
#[derive(Debug)]
pub struct Filesystem {
    name: String,
    context: OwnedFd,
}

impl Filesystem {
    /// Starts with the type, such as `tmpfs`.
    pub fn open(name: &str) -> Result<Self, FilesystemError> {
        let context = fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|error| FilesystemError::Type(name.to_owned(), error.into()))?;
        Ok(Self {
            name: name.to_owned(),
            context,
        })
    }

    /// Sets `key=value`; `source` is what is to be mounted.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), FilesystemError> {
        fsconfig_set_string(&self.context, key, value)
            .map_err(|source| self.refused(format!("{key}={value}"), source))
    }

    /// Sets an option without a value.
    pub fn flag(&mut self, key: &str) -> Result<(), FilesystemError> {
        fsconfig_set_flag(&self.context, key).map_err(|source| self.refused(key.to_owned(), source))
    }

    /// Creates the mount, attached nowhere yet.
    pub fn mount(self, attributes: MountAttrFlags) -> Result<OwnedFd, FilesystemError> {
        fsconfig_create(&self.context)
            .and_then(|()| fsmount(&self.context, FsMountFlags::FSMOUNT_CLOEXEC, attributes))
            .map_err(|source| FilesystemError::Create {
                log: self.log(),
                fs: self.name,
                source: source.into(),
            })
    }

    fn refused(&self, option: String, source: rustix::io::Errno) -> FilesystemError {
        FilesystemError::Option {
            fs: self.name.clone(),
            option,
            log: self.log(),
            source: source.into(),
        }
    }

    /// What the kernel has to say: each read of the context gives one message, such as `e tmpfs: Bad value`.
    fn log(&self) -> String {
        let mut text = String::new();
        let mut message = [0_u8; 512];
        while let Ok(count @ 1..) = rustix::io::read(&self.context, &mut message) {
            if !text.is_empty() {
                text.push_str("; ");
            }
            text.push_str(String::from_utf8_lossy(&message[..count]).trim_end());
        }
        text
    }
}
