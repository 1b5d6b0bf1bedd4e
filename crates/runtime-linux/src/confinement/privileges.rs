//! Powers over others, given up for good.

use std::io;

use rustix::process::DumpableBehavior;
use rustix::thread::{CapabilitySet, CapabilitySets};

/// Leaves the calling thread without capabilities, and without a way to any. Root keeps one: its VMM may be another user's
/// process, which has to be killed, and the filter leaves no signal to anybody else. No other process of the user looks into
/// this one.
pub(super) fn give_up() -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    let kept = if rustix::process::geteuid().is_root() {
        rustix::thread::capabilities(None)?.permitted & CapabilitySet::KILL
    } else {
        CapabilitySet::empty()
    };
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::clear_ambient_capability_set()?;
    rustix::thread::set_capabilities(None, sets)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
