//! Descriptors that the reactor watches.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A watched descriptor that several parts may use.
pub type Watched = Arc<AsyncFd<OwnedFd>>;

/// Has the reactor of the current runtime watch `descriptor`.
pub fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names one open descriptor for as long as it lives, and the registration owns it.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest) }?)
}
