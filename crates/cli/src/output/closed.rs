//! A standard output that this program was started without.

use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::Failure;

/// Whether descriptor 1 was closed.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Rust's own start opens `/dev/null` in the place of a closed descriptor, where a whole archive would go without a word. So this looks
/// before.
#[used]
// SAFETY: the loader calls what is in this section before `main`, once and alone; it needs nothing that is not there yet.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    // SAFETY: whether it is open is what is asked, and the number is not kept.
    let output = unsafe { BorrowedFd::borrow_raw(1) };
    let closed = rustix::io::fcntl_getfd(output).is_err();
    CLOSED.store(closed, Ordering::Relaxed);
}

/// Standard output, for bytes that a user must not lose.
///
/// # Errors
/// When it is closed, and a usage error with `at_terminal` when it is a terminal.
pub fn for_bytes(at_terminal: &'static str) -> Result<OwnedFd, Failure> {
    let failed =
        |error: io::Error| Failure::Local(anyhow::Error::new(error).context("standard output"));
    if CLOSED.load(Ordering::Relaxed) {
        return Err(failed(rustix::io::Errno::BADF.into()));
    }
    if io::stdout().is_terminal() {
        return Err(Failure::usage(at_terminal));
    }
    io::stdout().as_fd().try_clone_to_owned().map_err(failed)
}
