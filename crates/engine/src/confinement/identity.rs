//! The user and group that a VMM is.
//!
//! Where ids can be had it is somebody who owns nothing: as root a user id that no account has, a different one for each VMM; as a
//! user with subordinate ids (`subuid`(5)) one of those. Elsewhere it stays who its owner is.

use std::io;
use std::path::Path;

use container_isolation::subordinate_ids::{self, Range};
use container_isolation::user_namespace;
use rustix::process::{getegid, geteuid, getpid};

/// Id that the VMM's user and group have inside of a user namespace. Any but 0 will do: then exec takes the capabilities
/// that a new user namespace gives.
const INNER_ID: u32 = 65_534;

/// First of the user ids that root gives to VMMs. From 0x70000000 to 0x7fffffff systemd leaves them unused (its "Users, Groups,
/// UIDs and GIDs"), and a process id is below 2^22.
const FIRST_ID: u32 = 0x7000_0000;

/// Who a VMM is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Its owner, under another number.
    Owner {
        /// Whether it is in a user namespace.
        mapped: bool,
    },
    /// Somebody of root's choice.
    Own {
        /// The id of user and group, as the host sees it.
        id: u32,
        /// Whether it is in a user namespace.
        mapped: bool,
    },
    /// Somebody of the owner's subordinate ids.
    Subordinate {
        /// User id, as the host sees it.
        user: u32,
        /// Group id, as the host sees it.
        group: u32,
    },
}

impl Identity {
    /// What this process can give away, the best first.
    pub(crate) fn choices(user_namespace: bool) -> Vec<Self> {
        let mapped = user_namespace;
        if geteuid().is_root() {
            // The owner of a VMM starts one at a time, so its process id tells VMMs apart.
            let id = FIRST_ID + getpid().as_raw_pid().unsigned_abs();
            return vec![Self::Own { id, mapped }];
        }
        let of_vmm = || subordinate_ids::find(Range::of_vmm);
        let subordinate = user_namespace.then(of_vmm).flatten();
        let subordinate = subordinate.map(|(user, group)| Self::Subordinate { user, group });
        let owner = Self::Owner { mapped };
        subordinate.into_iter().chain([owner]).collect()
    }

    /// Whether the VMM is somebody else than its owner.
    pub(crate) fn is_another(&self) -> bool {
        !matches!(self, Self::Owner { .. })
    }

    /// Who it is, for people.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Owner { .. } => "its owner's id",
            Self::Own { .. } => "an id of its own",
            Self::Subordinate { .. } => "a subordinate id",
        }
    }

    /// Writes the maps of the user namespace of the process `pid`, which waits for it.
    pub(crate) fn write_maps(&self, pid: u32) -> io::Result<()> {
        let process = Path::new("/proc").join(pid.to_string());
        match self {
            Self::Own { id, mapped: true } => {
                user_namespace::map_one(&process, INNER_ID, [*id, *id])
            }
            Self::Owner { mapped: true } => {
                let own = [geteuid().as_raw(), getegid().as_raw()];
                user_namespace::map_own(&process, INNER_ID, own)
            }
            Self::Subordinate { user, group } => {
                let map = |outer: u32| [[INNER_ID, outer, 1]];
                subordinate_ids::write_maps(pid, &map(*user), &map(*group))
            }
            Self::Own { mapped: false, .. } | Self::Owner { mapped: false } => Ok(()),
        }
    }

    /// Makes the calling process, alone in its thread, this somebody. Allocates nothing.
    pub(crate) fn become_it(&self) -> io::Result<()> {
        match self {
            // It is already.
            Self::Owner { .. } => Ok(()),
            Self::Own { mapped: true, .. } | Self::Subordinate { .. } => set_ids(INNER_ID),
            Self::Own { id, mapped: false } => set_ids(*id),
        }
    }
}

/// Raw calls: those of the C library would stop other threads, which a copy of one thread does not have.
fn set_ids(id: u32) -> io::Result<()> {
    for arguments in [
        [libc::SYS_setgroups, 0, 0, 0],
        [libc::SYS_setresgid, id.into(), id.into(), id.into()],
        [libc::SYS_setresuid, id.into(), id.into(), id.into()],
    ] {
        let [call, first, second, third] = arguments;
        // SAFETY: all three calls take integers; an empty list of groups is not read.
        if unsafe { libc::syscall(call, first, second, third) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
