//! Which system calls a VMM may make: a list of what it needs, and nothing else.
//!
//! The kernel carries out what [`running`] lists. Everything else is a question to the VMM's owner
//! ([`crate::process::supervisor`]), who knows what the kernel does not: whether the machine runs yet. While the
//! VMM starts, [`starting`] is let through. Once guests' bytes are in its hands, a call that is on neither list ends it,
//! and is told of by name.
//!
//! QEMU's threads share one memory: who has taken one over has them all. So there are not lists for kinds of
//! threads but for times, and each entry says which threads make the call. `scripts/record-calls.sh` shows what a
//! VMM really calls and which entries nobody needs.

pub(crate) mod kvm;
mod program;
pub(crate) mod running;
pub(crate) mod starting;

pub(crate) use program::Filter;
