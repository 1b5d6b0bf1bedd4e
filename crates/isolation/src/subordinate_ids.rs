//! Ids that a user may give to processes of theirs (`subuid`(5), `subgid`(5)).
//!
//! Of the range that a user has, the last id is a VMM's, and the others are those of a machine's users: a file of the user is
//! never a VMM's. That rule is here, once, for both sides.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::geteuid;

/// Programs that write maps of subordinate ids (`newuidmap`(1)).
const HELPERS: [&str; 2] = ["/usr/bin/newuidmap", "/usr/bin/newgidmap"];

/// Consecutive ids of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The least of them.
    pub first: u32,
    /// How many there are, at least one.
    pub count: u32,
}

impl Range {
    /// The last one: a VMM's. Other programs take theirs from the start of a range.
    pub fn of_vmm(self) -> Option<u32> {
        self.first.checked_add(self.count.checked_sub(1)?)
    }

    /// All but the last one: those of a machine's users.
    pub fn of_users(self) -> Option<Self> {
        let count = self.count.checked_sub(1).filter(|count| *count > 0)?;
        self.first.checked_add(count)?;
        Some(Self { count, ..self })
    }
}

/// What `pick` takes of the first of this user's ranges of user ids that it can use, and the same of group ids; nothing where
/// the system gives none, or has not the programs that map them.
pub fn find<T>(pick: impl Fn(Range) -> Option<T>) -> Option<(T, T)> {
    if !HELPERS.iter().all(|helper| Path::new(helper).exists()) {
        return None;
    }
    let user = geteuid().as_raw();
    let name = account(user, &std::fs::read("/etc/passwd").ok()?);
    let find = |file| first_of(&std::fs::read(file).ok()?, user, name.as_deref(), &pick);
    Some((find("/etc/subuid")?, find("/etc/subgid")?))
}

/// Writes the maps of the user namespace of the process `pid`: rows of the first id inside, the first one outside and how many
/// follow, of users and of groups.
///
/// # Errors
/// When `newuidmap`(1) or `newgidmap`(1) cannot be run or refuses, with its words.
pub fn write_maps(pid: u32, users: &[[u32; 3]], groups: &[[u32; 3]]) -> io::Result<()> {
    let [user_helper, group_helper] = HELPERS;
    run(user_helper, pid, users)?;
    run(group_helper, pid, groups)
}

fn run(helper: &str, pid: u32, map: &[[u32; 3]]) -> io::Result<()> {
    let output = Command::new(helper)
        .arg(pid.to_string())
        .args(map.as_flattened().iter().map(u32::to_string))
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

/// Name of the account with an id, in the lines of `passwd`(5).
fn account(user: u32, accounts: &[u8]) -> Option<Vec<u8>> {
    accounts.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next()?;
        let id = std::str::from_utf8(fields.nth(1)?).ok()?;
        (id.parse() == Ok(user)).then(|| name.to_vec())
    })
}

/// What `pick` takes of the first range that it can use of those that a user, by name or number, has in the lines of
/// `subuid`(5).
fn first_of<T>(
    ranges: &[u8],
    user: u32,
    name: Option<&[u8]>,
    pick: impl Fn(Range) -> Option<T>,
) -> Option<T> {
    ranges.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let owner = fields.next()?;
        if Some(owner) != name && number(owner) != Some(user) {
            return None;
        }
        let (first, count) = (number(fields.next()?)?, number(fields.next()?)?);
        pick(Range { first, count })
    })
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNTS: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000::/:/bin/sh\n";
    const RANGES: &[u8] = b"other:100000:65536\nme:165536:65536\n";

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let name = account(1000, ACCOUNTS).unwrap();
        assert_eq!(name, b"me");
        let first_of = |ranges: &[u8], name| first_of(ranges, 1000, name, Range::of_vmm);
        assert_eq!(first_of(RANGES, Some(&name)), Some(231_071));
        assert_eq!(first_of(b"1000:7:2\n", None), Some(8));
        for bad in [&b""[..], b"me", b"me:x:1", b"me:1:0", b"me:4294967295:2"] {
            assert_eq!(first_of(bad, Some(&name)), None, "{bad:?}");
        }
    }

    #[test]
    fn the_vmms_id_is_nobodys_in_the_guest() {
        let name = account(1000, ACCOUNTS).unwrap();
        let first_of = |ranges: &[u8]| first_of(ranges, 1000, Some(&name), Range::of_users);
        let expected = Range {
            first: 165_536,
            count: 65_535,
        };
        assert_eq!(first_of(RANGES), Some(expected));
        for bad in [
            &b""[..],
            b"me",
            b"me:x:1",
            b"me:1:0",
            b"me:1:1",
            b"me:4294967295:3",
        ] {
            assert_eq!(first_of(bad), None, "{bad:?}");
        }
    }
}
