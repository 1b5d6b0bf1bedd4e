//! Who a process runs as, by the container's own /etc/passwd and /etc/group (passwd(5), group(5)).

use std::io::{self, Read};

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use thiserror::Error;

use super::masks;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
/// Who runs a process of nobody else.
const ROOT: &str = "0";
/// Larger files are not read: an image could make them endless.
const FILE_MAX: u64 = 1024 * 1024;

/// Why there is no such user.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// No entry has the name.
    #[error("user '{0}' not found in the container's {PASSWD}")]
    NoUser(String),
    /// No entry has the name.
    #[error("group '{0}' not found in the container's {GROUP}")]
    NoGroup(String),
    /// Not `[name|uid][:[group|gid]]`.
    #[error("invalid user {0:?}")]
    Grammar(String),
    /// A file that should be short and regular.
    #[error("the container's {0} is not a regular file of at most 1 MiB")]
    File(&'static str),
    /// Reading it.
    #[error("cannot read the container's {file}")]
    Read {
        file: &'static str,
        #[source]
        source: io::Error,
    },
}

/// Ids of a process and where its user lives.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: String,
}

/// One line of passwd(5), as far as needed.
#[derive(Debug)]
struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// One line of group(5).
#[derive(Debug)]
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Resolves `user` (`[name|uid][:[group|gid]]`) in the root of the calling process. What is left out is root, and the user's
/// own group with every other that lists the user. The group is one of the further groups as well: a program that may leave those must
/// not gain by it what the group is refused (CVE-2022-36109).
pub fn named(user: &str, additional: &[u32]) -> Result<Identity, IdentityError> {
    resolve(user, &read(PASSWD)?, &read(GROUP)?, additional)
}

/// The ids as given; only the home directory is looked up.
pub fn numeric(uid: u32, gid: u32, additional: &[u32]) -> Result<Identity, IdentityError> {
    let passwd = read(PASSWD)?;
    let home = users(&passwd)
        .find(|entry| entry.uid == uid)
        .map_or("/", |entry| entry.home);
    Ok(Identity {
        uid,
        gid,
        groups: additional.to_vec(),
        home: home.to_owned(),
    })
}

fn resolve(
    user: &str,
    passwd: &str,
    group: &str,
    additional: &[u32],
) -> Result<Identity, IdentityError> {
    let (user_part, group_part) = user.split_once(':').unwrap_or((user, ""));
    if group_part.contains(':') {
        return Err(IdentityError::Grammar(user.to_owned()));
    }
    let user_part = if user_part.is_empty() {
        ROOT
    } else {
        user_part
    };
    let number = id(user_part);
    let entry = users(passwd)
        .find(|entry| entry.name == user_part)
        .or_else(|| users(passwd).find(|entry| Some(entry.uid) == number));
    let uid = entry
        .as_ref()
        .map(|entry| entry.uid)
        .or(number)
        .ok_or_else(|| IdentityError::NoUser(user_part.to_owned()))?;
    let mut groups = additional.to_vec();
    let gid = if group_part.is_empty() {
        if let Some(user) = &entry {
            let member = |group: &Group<'_>| group.members.split(',').any(|m| m == user.name);
            groups.extend(groups_of(group).filter(member).map(|group| group.gid));
        }
        entry.as_ref().map_or(0, |entry| entry.gid)
    } else {
        groups_of(group)
            .find(|entry| entry.name == group_part)
            .map(|entry| entry.gid)
            .or_else(|| id(group_part))
            .ok_or_else(|| IdentityError::NoGroup(group_part.to_owned()))?
    };
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    let home = entry.map_or("/", |entry| entry.home).to_owned();
    Ok(Identity {
        uid,
        gid,
        groups,
        home,
    })
}

/// A number that is a valid id; -1 means "unchanged" to the kernel.
fn id(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

/// Entries in order; broken lines are passed over, as the C library does.
fn users(text: &str) -> impl Iterator<Item = User<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = id(fields.nth(1)?)?;
        let gid = id(fields.next()?)?;
        let home = fields
            .nth(1)
            .filter(|home| home.starts_with('/'))
            .unwrap_or("/");
        Some(User {
            name,
            uid,
            gid,
            home,
        })
    })
}

fn groups_of(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = id(fields.nth(1)?)?;
        Some(Group {
            name,
            gid,
            members: fields.next().unwrap_or_default(),
        })
    })
}

/// Content of a short regular file; empty when there is none, or when it is masked. Symbolic links stay inside: the root
/// is ours.
fn read(path: &'static str) -> Result<String, IdentityError> {
    let failed = |source| IdentityError::Read { file: path, source };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        Err(error) => return Err(failed(error.into())),
    };
    let stat = fstat(&file).map_err(|error| failed(error.into()))?;
    if masks::is_null(&stat) {
        return Ok(String::new());
    }
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(IdentityError::File(path));
    }
    let mut bytes = Vec::new();
    let mut bounded = std::fs::File::from(file).take(FILE_MAX + 1);
    bounded.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(IdentityError::File(path));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        # comment\n\
        broken:x\n\
        web:x:33:34::/srv/web:/bin/false\n\
        1000:x:77:78::/home/digits:\n\
        relative:x:5:5::home:\n";
    const GROUP: &str =
        "root:x:0:\nadm:x:4:web,root\nweb:x:34:\nvideo:x:44:root,web\nbad:x:no:web\n";

    fn of(user: &str) -> Result<Identity, IdentityError> {
        resolve(user, PASSWD, GROUP, &[9])
    }

    fn identity(uid: u32, gid: u32, groups: &[u32], home: &str) -> Identity {
        Identity {
            uid,
            gid,
            groups: groups.to_vec(),
            home: home.to_owned(),
        }
    }

    #[test]
    fn users_are_found_by_name_and_by_number() {
        for (user, expected) in [
            ("web", identity(33, 34, &[4, 9, 34, 44], "/srv/web")),
            ("33", identity(33, 34, &[4, 9, 34, 44], "/srv/web")),
            ("web:adm", identity(33, 4, &[4, 9], "/srv/web")),
            ("web:12", identity(33, 12, &[9, 12], "/srv/web")),
            ("1234", identity(1234, 0, &[0, 9], "/")),
            ("1234:5678", identity(1234, 5678, &[9, 5678], "/")),
            ("1000", identity(77, 78, &[9, 78], "/home/digits")),
            ("relative", identity(5, 5, &[5, 9], "/")),
            ("root", identity(0, 0, &[0, 4, 9, 44], "/root")),
            ("0:0", identity(0, 0, &[0, 9], "/root")),
        ] {
            assert_eq!(of(user).unwrap(), expected, "{user}");
        }
    }

    #[test]
    fn what_is_left_out_is_the_default() {
        for (user, expected) in [
            ("", identity(0, 0, &[0, 4, 9, 44], "/root")),
            (":", identity(0, 0, &[0, 4, 9, 44], "/root")),
            (":34", identity(0, 34, &[9, 34], "/root")),
            (":adm", identity(0, 4, &[4, 9], "/root")),
            ("web:", identity(33, 34, &[4, 9, 34, 44], "/srv/web")),
            ("1234:", identity(1234, 0, &[0, 9], "/")),
        ] {
            assert_eq!(of(user).unwrap(), expected, "{user}");
        }
    }

    #[test]
    fn a_masked_file_has_no_entries() {
        assert_eq!(read("/dev/null").unwrap(), "");
        assert!(matches!(read("/dev/zero"), Err(IdentityError::File(_))));
    }

    #[test]
    fn who_does_not_exist_is_an_error() {
        assert!(matches!(of("nosuch"), Err(IdentityError::NoUser(name)) if name == "nosuch"));
        assert!(matches!(of("broken"), Err(IdentityError::NoUser(_))));
        assert!(matches!(of("web:nosuch"), Err(IdentityError::NoGroup(name)) if name == "nosuch"));
        assert!(matches!(of("4294967295"), Err(IdentityError::NoUser(_))));
        assert!(matches!(of("-1"), Err(IdentityError::NoUser(_))));
        for grammar in ["::", "web:adm:x", "web:adm:"] {
            assert!(
                matches!(of(grammar), Err(IdentityError::Grammar(_))),
                "{grammar}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_input_is_fatal(user in ".{0,20}", passwd in ".{0,200}", group in ".{0,200}") {
            let _ = resolve(&user, &passwd, &group, &[]);
        }

        #[test]
        fn numbers_need_no_entry(uid in 0..u32::MAX, gid in 0..u32::MAX) {
            let identity = resolve(&format!("{uid}:{gid}"), "", "", &[]).unwrap();
            prop_assert_eq!((identity.uid, identity.gid), (uid, gid));
        }
    }
}
