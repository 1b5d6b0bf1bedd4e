//! What the process that reads guests' messages gives up before it reads the first one.
//!
//! Whoever takes it over by such a message has the sockets on which questions come, and three on which it asks its network's
//! process: for a socket that leads to one of the host's resolvers, to let a container reach an address of the outside by a rule that is
//! there, and for names of the container's other networks. A UDP socket to a resolver is one of the host's namespace, and a datagram may
//! name any address: it can send datagrams wherever the host can, and hear what answers. It reaches no file, makes no
//! socket, process or executable memory, sends no signal, and has no privilege. None of it can be taken back.

mod calls;
mod privileges;

use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope,
};

/// The version whose rights are named here. A newer kernel knows more, an older one less: it bounds what it knows.
const KNOWN: ABI = ABI::V7;

/// Why a process could not be confined.
#[derive(Debug, thiserror::Error)]
pub enum ConfinementError {
    /// Landlock refused.
    #[error("Landlock")]
    Landlock(#[source] landlock::RulesetError),
    /// Privileges stay.
    #[error("give privileges up")]
    Privileges(#[source] io::Error),
    /// The list of system calls can't be built.
    #[error("build the filter of system calls")]
    BuildFilter(#[source] seccompiler::BackendError),
    /// The kernel does not take the list.
    #[error("set the filter of system calls")]
    Filter(#[source] seccompiler::Error),
}

pub use privileges::keep_those_of_networks;

/// Shuts the calling process, which has one thread, in.
///
/// # Errors
/// When the host can't: the process is not to go on then.
pub fn enter() -> Result<(), ConfinementError> {
    privileges::give_up().map_err(ConfinementError::Privileges)?;
    restrict_files()?;
    calls::filter()
}

/// Landlock (Documentation/userspace-api/landlock.rst): no file, no port of TCP, no process or abstract socket outside. The list of
/// calls has none that would reach them, so a kernel without Landlock is good enough.
fn restrict_files() -> Result<(), ConfinementError> {
    let restrict = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(KNOWN))?
            .handle_access(AccessNet::from_all(KNOWN))?
            .scope(Scope::from_all(KNOWN))?
            .create()?
            .restrict_self()
    };
    restrict().map(drop).map_err(ConfinementError::Landlock)
}

#[cfg(test)]
mod tests;
