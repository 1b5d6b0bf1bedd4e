//! What the process keeps: the power to be any of its users in its directories.

use std::io;

use container_resource::share::MEMORY_LIMIT;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::identity::Identity;

/// To read, write and give away files as root in the guest may. Not to make devices of the host, and not to give programs of
/// the host capabilities: a file with either would be of use to somebody who is not in the guest.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID);

/// Descriptors that the process may have: each file that the guest knows takes one, and about a kilobyte of the host's kernel. The guest
/// forgets files when its memory is short. virtiofsd's own figure.
const OPEN_FILES: u64 = 1_000_000;

/// Gives the process the bounds that nothing in it can change any more: it has no power to raise them. Root gives it as many descriptors
/// as it may need; a user what the system gives.
pub fn bound() -> io::Result<()> {
    let own = rustix::process::getrlimit(Resource::Nofile).maximum;
    let mut most = own.unwrap_or(u64::MAX).min(OPEN_FILES);
    if most < OPEN_FILES && limit(Resource::Nofile, OPEN_FILES).is_ok() {
        most = OPEN_FILES;
    }
    limit(Resource::Nofile, most)?;
    let own = rustix::process::getrlimit(Resource::Data).maximum;
    limit(Resource::Data, own.unwrap_or(u64::MAX).min(MEMORY_LIMIT))
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    Ok(rustix::process::setrlimit(resource, limit)?)
}

/// Leaves the calling thread with [`KEPT`] and no way to more. Other processes of its user do not look into it.
pub fn give_up(identity: &Identity) -> io::Result<()> {
    if identity.has_others() {
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(root_group(), root_group(), root_group())?;
        rustix::thread::set_thread_res_uid(root(), root(), root())?;
    }
    rustix::thread::set_no_new_privs(true)?;
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if KEPT.contains(one) {
            continue;
        }
        // The kernel has fewer.
        if rustix::thread::remove_capability_from_bounding_set(one).is_err() {
            break;
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    let sets = CapabilitySets {
        effective: KEPT,
        permitted: KEPT,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

fn root() -> rustix::process::Uid {
    rustix::process::Uid::ROOT
}

fn root_group() -> rustix::process::Gid {
    rustix::process::Gid::ROOT
}
