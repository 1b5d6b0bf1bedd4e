//! From a process of the user to one that sees the shares alone.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use container_resource::share::Request;
use rustix::process::Signal;

use crate::clone::{self, Side};
use crate::identity::Identity;
use crate::root::RootError;
use crate::serve::ServeError;
use crate::{mount, privileges, request, root};

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The host gives no namespaces.
    #[error("this host cannot confine the process that serves the shares")]
    Confine(#[source] io::Error),
    /// Something cannot be shared.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The process keeps more than it is to have.
    #[error("give privileges up")]
    Privileges(#[source] io::Error),
    /// The file server does not come up.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// What a confined child has.
#[derive(Debug)]
pub struct Place {
    /// Its own descriptors, as a directory.
    pub descriptors: OwnedFd,
    /// Closing a file may fail.
    pub close_fails: bool,
}

/// What the child does when it is confined.
pub type Work = fn(&Identity, &Request, Place) -> Result<(), ShareError>;

/// Does `work` in a child that sees what `request` shares, and ends as that ends.
///
/// # Errors
/// When nothing can confine it. What goes wrong in the child is told on standard output.
pub fn run(request: &Request, work: Work) -> Result<ExitCode, ShareError> {
    clone::die_with_parent().map_err(ShareError::Confine)?;
    let mut refused = io::Error::from(io::ErrorKind::PermissionDenied);
    for identity in Identity::choices() {
        match clone::clone(identity.is_mapped()).map_err(ShareError::Confine)? {
            Side::Child { pipe } => return Ok(begin(&identity, pipe, request, work)),
            Side::Parent { child, pipe } => {
                match identity.write_maps(child.as_raw_pid().unsigned_abs()) {
                    Ok(()) => {
                        let mut pipe = std::fs::File::from(pipe);
                        pipe.write_all(&[1]).map_err(ShareError::Confine)?;
                        // The child alone has the socket: its end is the machine's to see.
                        drop(request::listener());
                        return clone::follow(child).map_err(ShareError::Confine);
                    }
                    Err(error) => {
                        tracing::debug!(%error, "{identity:?} is not to be had");
                        refused = error;
                        // Neither fails for a child that has not been waited for.
                        let _ = rustix::process::kill_process(child, Signal::KILL);
                        let _ = clone::follow(child);
                    }
                }
            }
        }
    }
    Err(ShareError::Confine(refused))
}

/// The child's life.
fn begin(identity: &Identity, pipe: OwnedFd, request: &Request, work: Work) -> ExitCode {
    let mut word = [0];
    if std::fs::File::from(pipe).read_exact(&mut word).is_err() {
        return ExitCode::FAILURE;
    }
    match confined(identity, request, work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            request::answer_failed(&error);
            ExitCode::FAILURE
        }
    }
}

fn confined(identity: &Identity, request: &Request, work: Work) -> Result<(), ShareError> {
    privileges::bound().map_err(ShareError::Privileges)?;
    let descriptors = mount::own_descriptors().map_err(ShareError::Confine)?;
    let close_fails = root::enter(request)?;
    privileges::give_up(identity).map_err(ShareError::Privileges)?;
    // After the change of credentials, which would undo it.
    clone::die_with_parent().map_err(ShareError::Confine)?;
    let place = Place {
        descriptors,
        close_fails,
    };
    work(identity, request, place)
}
