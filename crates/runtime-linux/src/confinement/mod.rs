//! What the helper gives up once its machine exists: from then on it reads what a guest and its VMM say.
//!
//! Whoever takes it over by that has its bundle's files, the descriptors of the container's clients and its own VMM, and
//! nothing else: no other file, socket, process, program or privilege. Landlock bounds the files and the network, a list
//! of system calls the rest. Neither can be taken back.

mod calls;
mod landlock;
mod privileges;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

pub use landlock::Abi;

/// How long threads that have done their work may take to end.
const THREADS_LIMIT: Duration = Duration::from_millis(20);

/// How a helper is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// Version of Landlock that bounds its files; nothing where the host has none and that was accepted.
    pub landlock: Option<Abi>,
    /// Threads that were at work, and are held by the filter of system calls alone.
    pub left_out: usize,
}

/// Why a helper could not be confined.
#[derive(Debug, thiserror::Error)]
pub enum ConfinementError {
    /// The kernel has no Landlock, or has it switched off.
    #[error("this host's kernel has no Landlock")]
    NoLandlock,
    /// Landlock refused.
    #[error("Landlock")]
    Landlock(#[source] ::landlock::RulesetError),
    /// The bundle cannot be opened.
    #[error("open the bundle")]
    Bundle(#[source] ::landlock::PathFdError),
    /// Privileges stay.
    #[error("give privileges up")]
    Privileges(#[source] io::Error),
    /// The list of system calls cannot be built.
    #[error("build the filter of system calls")]
    BuildFilter(#[source] seccompiler::BackendError),
    /// The kernel does not take the list.
    #[error("set the filter of system calls")]
    Filter(#[source] seccompiler::Error),
}

/// The calling thread, and the one that answers the VMM's system calls.
const EXPECTED_THREADS: usize = 2;

/// Shuts the calling process in: of all files only those in `bundle` can be reached from now on. With `accept_less` a host
/// without Landlock must do.
///
/// # Errors
/// When the host cannot: the process is not to go on then.
pub fn enter(bundle: &Path, accept_less: bool) -> Result<Confinement, ConfinementError> {
    let left_out = left_out();
    privileges::give_up().map_err(ConfinementError::Privileges)?;
    let landlock = landlock::restrict(bundle)?;
    if landlock.is_none() && !accept_less {
        return Err(ConfinementError::NoLandlock);
    }
    calls::filter()?;
    Ok(Confinement { landlock, left_out })
}

/// Other threads. Landlock and capabilities are those of the thread that asks, and of those that it makes from then on.
/// Threads of tokio that have worked are given a moment to end; one that answers the VMM's system calls stays, and has
/// the filter only.
fn left_out() -> usize {
    let begun = Instant::now();
    loop {
        let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        if threads <= EXPECTED_THREADS || begun.elapsed() > THREADS_LIMIT {
            return threads.saturating_sub(EXPECTED_THREADS);
        }
        // There is no event to wait for.
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests;
