//! Whose files the guest writes.
//!
//! As root the users of the guest are the host's, number by number. A user has only their own id to give: root in the guest is
//! the user, and where the system gives subordinate ids (`subuid`(5)), the guest's users from 1 on are those, as rootless
//! podman has it. Without them every user of the guest writes files of the user.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{getegid, geteuid};
use virtiofsd::soft_idmap::cmdline::IdMap;

/// Programs that write maps of subordinate ids (`newuidmap`(1)).
const HELPERS: [&str; 2] = ["/usr/bin/newuidmap", "/usr/bin/newgidmap"];

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

/// Consecutive ids of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: u32,
    count: u32,
}

impl Identity {
    /// What this process can give, the best first.
    pub fn choices() -> Vec<Self> {
        if geteuid().is_root() {
            return vec![Self::Host];
        }
        subordinate().into_iter().chain([Self::User]).collect()
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
                let [user_helper, group_helper] = HELPERS;
                run(user_helper, pid, user, *users)?;
                run(group_helper, pid, group, *groups)
            }
            Self::User => {
                let write =
                    |name: &str, text: String| std::fs::write(format!("/proc/{pid}/{name}"), text);
                write("setgroups", "deny".to_owned())?;
                write("uid_map", format!("0 {user} 1\n"))?;
                write("gid_map", format!("0 {group} 1\n"))
            }
        }
    }

    /// What the file server translates by itself: where there is one id, every user of the guest has it.
    pub fn translation(&self) -> Vec<IdMap> {
        match self {
            Self::Host | Self::Subordinate { .. } => Vec::new(),
            Self::User => vec![IdMap::SquashGuest {
                from_guest: 0,
                to_host: 0,
                count: u32::MAX,
            }],
        }
    }
}

/// Maps 0 to `own`, and the ids from 1 on to `range`, by one of the [`HELPERS`].
fn run(helper: &str, pid: u32, own: u32, range: Range) -> io::Result<()> {
    let numbers = [pid, 0, own, 1, 1, range.first, range.count];
    let output = Command::new(helper)
        .args(numbers.map(|number| number.to_string()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{helper}: {}", text.trim())))
}

/// The ids that this user may give to others, if the system gives any.
fn subordinate() -> Option<Identity> {
    if !HELPERS.iter().all(|helper| Path::new(helper).exists()) {
        return None;
    }
    let user = geteuid().as_raw();
    let name = account(user, &std::fs::read("/etc/passwd").ok()?);
    let range = |file| range(&std::fs::read(file).ok()?, user, name.as_deref());
    Some(Identity::Subordinate {
        users: range("/etc/subuid")?,
        groups: range("/etc/subgid")?,
    })
}

/// Name of the account with an id, in the lines of `passwd`(5).
fn account(user: u32, accounts: &[u8]) -> Option<Vec<u8>> {
    accounts.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next()?;
        (number(fields.nth(1)?) == Some(user)).then(|| name.to_vec())
    })
}

/// The first range that a user, by name or number, has in the lines of `subuid`(5), without its last id: that is the VMM's
/// (crates/engine/src/confinement/identity.rs), and no file is to be its.
fn range(ranges: &[u8], user: u32, name: Option<&[u8]>) -> Option<Range> {
    ranges.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let owner = fields.next()?;
        if Some(owner) != name && number(owner) != Some(user) {
            return None;
        }
        let (first, count) = (number(fields.next()?)?, number(fields.next()?)?);
        let count = count.checked_sub(1).filter(|count| *count > 0)?;
        first.checked_add(count)?;
        Some(Range { first, count })
    })
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vmms_id_is_nobodys_in_the_guest() {
        let accounts = b"root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000::/:/bin/sh\n";
        let name = account(1000, accounts).unwrap();
        let ranges = b"other:100000:65536\nme:165536:65536\n";
        let expected = Range {
            first: 165_536,
            count: 65_535,
        };
        assert_eq!(range(ranges, 1000, Some(&name)), Some(expected));
        for bad in [
            &b""[..],
            b"me",
            b"me:x:1",
            b"me:1:0",
            b"me:1:1",
            b"me:4294967295:3",
        ] {
            assert_eq!(range(bad, 1000, Some(&name)), None, "{bad:?}");
        }
    }

    #[test]
    fn only_who_has_one_id_translates() {
        assert!(Identity::Host.translation().is_empty());
        assert_eq!(Identity::User.translation().len(), 1);
        assert!(!Identity::User.has_others() && Identity::User.is_mapped());
    }
}
