//! A root directory with what is shared, and nothing else of the host.
//!
//! Each share has its number as its name. One file system serves them all, so a machine needs one device for however many
//! there are, and a single file is a share like any other: none of its neighbours is there.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use container_isolation::mount as calls;
use container_isolation::mountinfo;
use container_resource::share::{Request, Source};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags, mkdirat,
    openat, openat2, statx,
};
use rustix::io::Errno;

use crate::kernel_mounts::KernelMounts;
use crate::local_mounts::may_close_fail;
use crate::mount;

/// Why something cannot be shared.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The path leads nowhere, or not where this user may look.
    #[error("cannot share {path}")]
    Open {
        /// The path.
        path: String,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// Part of the path has become a symbolic link.
    #[error(
        "cannot share {path}: a symbolic link is in its way that was not there when the container was created"
    )]
    Link {
        /// The path.
        path: String,
    },
    /// Neither a directory nor a file.
    #[error("cannot share {path}: it is {kind}, not a directory or a file")]
    Kind {
        /// The path.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// Writing there changes the host's kernel.
    #[error(
        "cannot share {path} to be written to: it is the host kernel's own ({kind}); read-only (:ro) it can be shared"
    )]
    Kernel {
        /// The path.
        path: String,
        /// The file system's type.
        kind: String,
    },
    /// The root cannot be made.
    #[error("make a root of the shares")]
    Make(#[from] io::Error),
}

/// Makes the root and enters it. What is opened before stays open. Tells whether closing a file below it may fail.
pub fn enter(request: &Request) -> Result<bool, RootError> {
    calls::make_private().map_err(io::Error::from)?;
    let mut views = Vec::with_capacity(request.shares.len());
    let mounts = mountinfo::read()?;
    let close_fails = may_close_fail(&request.shares, &mounts, Path::exists);
    let kernel = KernelMounts::among(mounts);
    for share in &request.shares {
        views.push(view(share, &kernel)?);
    }
    let options = [(c"size", c"1m"), (c"mode", c"755")];
    let root = calls::tmpfs(&options).map_err(io::Error::from)?;
    // A directory that every host has. What was to be taken from below it has been.
    calls::attach(&root, CWD, c"/proc").map_err(io::Error::from)?;
    for (number, (view, is_directory)) in views.iter().enumerate() {
        let name = CString::new(number.to_string()).map_err(io::Error::from)?;
        if *is_directory {
            mkdirat(&root, &name, Mode::from_raw_mode(0o700)).map_err(io::Error::from)?;
        } else {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(&root, &name, flags, Mode::RUSR).map_err(io::Error::from)?;
        }
        calls::attach(view, &root, &name).map_err(io::Error::from)?;
    }
    for (number, share) in request.shares.iter().enumerate() {
        for place in kernel.below(&share.path) {
            make_read_only(&root, &Path::new(&number.to_string()).join(place))?;
        }
    }
    // The guest makes nothing beside its shares.
    mount::tame(&root, true, false)?;
    calls::enter(&root).map_err(io::Error::from)?;
    Ok(close_fails)
}

/// Makes the mount at `place` below `root` read-only, if one is to be seen there. It has to be attached for that.
fn make_read_only(root: &OwnedFd, place: &Path) -> Result<(), RootError> {
    let failed = |source: io::Error| RootError::Open {
        path: place.display().to_string(),
        source,
    };
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::BENEATH;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let Ok(found) = openat2(root, place, flags, Mode::empty(), resolve) else {
        // Something else is mounted over it, or over what it is in.
        return Ok(());
    };
    let status = statx(&found, c"", AtFlags::EMPTY_PATH, StatxFlags::empty());
    let status = status.map_err(|error| failed(error.into()))?;
    if !status.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(());
    }
    mount::tame(&found, true, false).map_err(failed)
}

/// A view of what is shared, and whether it is a directory.
fn view(share: &Source, kernel: &KernelMounts) -> Result<(OwnedFd, bool), RootError> {
    let path = || share.path.display().to_string();
    let failed = |source: io::Error| RootError::Open {
        path: path(),
        source,
    };
    // The path was without links when the container was made. One that is there now was put by somebody who may write
    // beside it, such as the container itself through another share.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let place = match openat2(CWD, &share.path, flags, Mode::empty(), resolve) {
        Ok(place) => place,
        Err(Errno::LOOP) => return Err(RootError::Link { path: path() }),
        Err(error) => return Err(failed(error.into())),
    };
    let status = rustix::fs::fstat(&place).map_err(|error| failed(error.into()))?;
    let kind = match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory | FileType::RegularFile => None,
        FileType::Socket => Some("a socket"),
        FileType::Fifo => Some("a pipe"),
        FileType::BlockDevice | FileType::CharacterDevice => Some("a device"),
        _ => Some("something else"),
    };
    if let Some(kind) = kind {
        return Err(RootError::Kind { path: path(), kind });
    }
    if let (Some(kind), false) = (kernel.around(&share.path), share.read_only) {
        return Err(RootError::Kernel {
            path: path(),
            kind: kind.to_owned(),
        });
    }
    let is_directory = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
    let view = calls::view(&place, c"", true).map_err(|error| failed(error.into()))?;
    mount::tame(&view, share.read_only, true).map_err(failed)?;
    Ok((view, is_directory))
}
