//! Whose files the guest writes.
//!
//! As root the users of the guest are the host's, number by number. A user has only their own id to give: root in the guest is
//! the user, and where the system gives subordinate ids (`subuid`(5)), the guest's users from 1 on are those, as rootless
//! podman has it. Without them every user of the guest writes files of the user.

use std::io;
use std::path::Path;

use container_isolation::subordinate_ids::{self, Range};
use container_isolation::user_namespace;
use container_resource::idmap;
use rustix::process::{getegid, geteuid};
use virtiofsd::soft_idmap::cmdline::IdMap;

use crate::owners;

/// How ids of the guest become the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// They are the same: root started it.
    Host,
    /// Root is the user, the others are the user's subordinate ids.
    Subordinate {
        /// User ids from 1 on.
        users: Range,
        /// Group ids from 1 on.
        groups: Range,
    },
    /// All are the user.
    User,
}

impl Identity {
    /// What this process can give, the best first.
    pub fn choices() -> Vec<Self> {
        if geteuid().is_root() {
            return vec![Self::Host];
        }
        let subordinate = subordinate_ids::find(Range::of_users);
        let subordinate = subordinate.map(|(users, groups)| Self::Subordinate { users, groups });
        subordinate.into_iter().chain([Self::User]).collect()
    }

    /// Whether there is a user namespace.
    pub fn is_mapped(&self) -> bool {
        *self != Self::Host
    }

    /// Whether the process may be other users than its own.
    pub fn has_others(&self) -> bool {
        *self != Self::User
    }

    /// Writes the maps of the user namespace of the process `pid`, which waits for it.
    pub fn write_maps(&self, pid: u32) -> io::Result<()> {
        let [user, group] = [geteuid().as_raw(), getegid().as_raw()];
        match self {
            Self::Host => Ok(()),
            Self::Subordinate { users, groups } => {
                let map = |own: u32, others: &Range| [[0, own, 1], [1, others.first, others.count]];
                subordinate_ids::write_maps(pid, &map(user, users), &map(group, groups))
            }
            Self::User => {
                let process = Path::new("/proc").join(pid.to_string());
                user_namespace::map_own(&process, 0, [user, group])
            }
        }
    }

    /// What the file server translates by itself: where there is one id, every user of the guest has it; and the ids of a map.
    pub fn translation(&self, map: Option<&[idmap::Range]>) -> Vec<IdMap> {
        match (self, map) {
            (Self::Host | Self::Subordinate { .. }, None) => Vec::new(),
            (Self::User, None) => vec![IdMap::SquashGuest {
                from_guest: 0,
                to_host: 0,
                count: u32::MAX,
            }],
            (_, Some(ranges)) => owners::translation(ranges, self.has_others()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_one_id_translates() {
        assert!(Identity::Host.translation(None).is_empty());
        assert_eq!(Identity::User.translation(None).len(), 1);
        assert!(!Identity::User.has_others() && Identity::User.is_mapped());
    }
}
