//! The system calls that are left. The kernel seems not to have the others (`ENOSYS`): what a library tries for speed, it then
//! does the other way.
//!
//! What it needs beside [`SERVING`] is sending: questions and answers go by sockets that are there or come from the network's process.

use container_isolation::calls::{
    SERVING, SeccompAction, SeccompRule, allow, any_of, is, masked, program,
};
use seccompiler::{BackendError, BpfProgram};

use super::ConfinementError;

/// What may be done to descriptors, whatever the argument. No signals to owners, no leases.
const FCNTL: [i32; 4] = [
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_DUPFD_CLOEXEC,
];

/// Leaves the calling thread no other calls.
pub(super) fn filter() -> Result<(), ConfinementError> {
    let program = build().map_err(ConfinementError::BuildFilter)?;
    seccompiler::apply_filter(&program).map_err(ConfinementError::Filter)
}

fn build() -> Result<BpfProgram, BackendError> {
    let mut rules = allow(SERVING)?;
    // Such a message connects a stream first (MSG_FASTOPEN of send(2)).
    let not_connecting = |argument| masked(argument, libc::MSG_FASTOPEN, 0);
    for (call, condition) in [
        (libc::SYS_sendto, not_connecting(3)?),
        (libc::SYS_sendmsg, not_connecting(2)?),
        // To itself: a panic ends in one.
        (libc::SYS_tgkill, is(0, std::process::id().into())?),
        // Standard error, to a terminal or not.
        (libc::SYS_ioctl, is(1, libc::TCGETS)?),
    ] {
        rules.insert(call, vec![SeccompRule::new(vec![condition])?]);
    }
    rules.insert(libc::SYS_fcntl, descriptors()?);
    program(rules, SeccompAction::Errno(libc::ENOSYS.unsigned_abs()))
}

/// The rules of `fcntl`: one of them must hold.
fn descriptors() -> Result<Vec<SeccompRule>, BackendError> {
    let number = |command: i32| u64::from(command.unsigned_abs());
    let mut rules = any_of(1, &FCNTL.map(number))?;
    // No signal when there is something to read.
    let flags = [is(1, number(libc::F_SETFL))?, masked(2, libc::O_ASYNC, 0)?];
    rules.push(SeccompRule::new(flags.into())?);
    Ok(rules)
}
