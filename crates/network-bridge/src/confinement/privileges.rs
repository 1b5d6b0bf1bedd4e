//! Powers over others, given up for good.

use std::io;

use rustix::process::DumpableBehavior;
use rustix::thread::{CapabilitySet, CapabilitySets};

/// What changes interfaces, rules and addresses of a namespace, and serves its low ports.
const OF_NETWORKS: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_BIND_SERVICE);

/// Leaves the calling thread without capabilities, and without a way to any. No other process of the user looks into it.
pub(super) fn give_up() -> io::Result<()> {
    keep(CapabilitySet::empty())?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Leaves the calling thread, and the programs that it runs, those capabilities that changing a network takes.
///
/// # Errors
/// As `capset(2)`.
pub fn keep_those_of_networks() -> io::Result<()> {
    keep(OF_NETWORKS)
}

fn keep(kept: CapabilitySet) -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    let own = rustix::thread::capabilities(None)?.permitted;
    // What a program of root's gets is bounded by this set; only who may change it has anything there that counts.
    if own.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().difference(kept).iter() {
            // The kernel may not know all of them.
            let _ = rustix::thread::remove_capability_from_bounding_set(capability);
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    let kept = own & kept;
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets)?;
    Ok(())
}
