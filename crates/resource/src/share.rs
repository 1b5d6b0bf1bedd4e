//! Requests of a runtime helper to the process of its machine's shares.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::container::{Mount, MountKind};
use crate::idmap::{IdMap, IdMapError};
use crate::room;

/// Tag of the file system by which a guest mounts its shares: one for all of them that have no map of owners.
pub const TAG: &str = "shares";

/// Most shares of one container: each is a mount on the host, and there is a bound on what is said of them.
pub const LIMIT: usize = 256;

/// Most different maps of owners of one container: each has a process and a device of its own.
pub const MAPS_LIMIT: usize = room::MOST;

/// Bytes of memory of its own that a process may have: some 300 for each file that the guest knows, and the stacks of its threads. The
/// guest's memory, which it shares, is not counted.
pub const MEMORY_LIMIT: u64 = 1 << 30;

/// Threads that it may have, with its parent's: it needs one for each queue, and two.
pub const THREAD_LIMIT: u32 = 16;

/// Shares that one process serves, as one file system: those with the same map of owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served<'a> {
    /// By which the guest knows the file system.
    pub tag: String,
    /// Owners in the container.
    pub idmap: Option<IdMap>,
    /// In the order of the flags; the guest finds the first as `0`.
    pub mounts: Vec<&'a Mount>,
}

/// Why there are no such shares.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServedError {
    /// A map of owners is invalid.
    #[error(transparent)]
    IdMap(#[from] IdMapError),
    /// More maps than there may be.
    #[error("{0} different idmaps: a container has at most {MAPS_LIMIT}")]
    TooManyMaps(usize),
    /// More shares than there may be.
    #[error("{0} bind mounts: a container has at most {LIMIT}")]
    TooMany(usize),
}

/// What of `mounts` is shared, by who serves it.
///
/// # Errors
/// When there is more than there may be.
pub fn served(mounts: &[Mount]) -> Result<Vec<Served<'_>>, ServedError> {
    let mut all: Vec<Served<'_>> = Vec::new();
    let mut count = 0;
    for mount in mounts {
        if !matches!(mount.kind, MountKind::Virtiofs {}) {
            continue;
        }
        count += 1;
        let idmap = IdMap::of_options(&mount.options)?;
        if let Some(served) = all.iter_mut().find(|served| served.idmap == idmap) {
            served.mounts.push(mount);
            continue;
        }
        let maps = all.iter().filter(|served| served.idmap.is_some()).count();
        let tag = match &idmap {
            None => TAG.to_owned(),
            Some(_) => format!("{TAG}-{maps}"),
        };
        let mounts = vec![mount];
        all.push(Served { tag, idmap, mounts });
    }
    let maps = all.iter().filter(|served| served.idmap.is_some()).count();
    match (count, maps) {
        (count, _) if count > LIMIT => Err(ServedError::TooMany(count)),
        (_, maps) if maps > MAPS_LIMIT => Err(ServedError::TooManyMaps(maps)),
        _ => Ok(all),
    }
}

/// On standard input of `container-share-virtiofs serve`, as JSON, until its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// What is shared, at most [`LIMIT`]. In the file system the guest finds the first as `0`, the second as `1`.
    pub shares: Vec<Source>,
    /// Owners of all of them in the guest; without it they are who they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idmap: Option<IdMap>,
}

/// A directory or a file of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Absolute path; symbolic links in it are followed, as everywhere on the host.
    pub path: PathBuf,
    /// Nothing that the guest does changes it.
    pub read_only: bool,
}

/// On its standard output, as one line of JSON: first whether it has all of them or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// It serves.
    Ready,
    /// Later, and many times: the guest must drop unused files, because few descriptors are left.
    Crowded,
    /// It does not, and ends.
    Failed {
        /// Why, in words.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bind;

    fn mount(options: &[&str]) -> Mount {
        bind::mount("/s", "/t", options.iter().copied()).unwrap()
    }

    #[test]
    fn shares_with_the_same_owners_are_served_together() {
        let [one, other] = ["idmap=uids=0-5-1", "idmap=uids=0-6-1"];
        let tmpfs = Mount {
            kind: MountKind::Tmpfs {},
            ..mount(&[])
        };
        let mounts = [
            mount(&[one]),
            mount(&[]),
            tmpfs,
            mount(&["ro", other]),
            mount(&["ro", one]),
        ];
        let shown: Vec<_> = served(&mounts)
            .unwrap()
            .into_iter()
            .map(|served| (served.tag, served.idmap.is_some(), served.mounts.len()))
            .collect();
        let expected = [
            ("shares-0", true, 2),
            ("shares", false, 1),
            ("shares-1", true, 1),
        ];
        assert_eq!(
            shown,
            expected.map(|(tag, map, count)| (tag.to_owned(), map, count))
        );
    }

    #[test]
    fn there_is_a_bound() {
        let mounts = vec![mount(&[]); LIMIT + 1];
        assert_eq!(served(&mounts), Err(ServedError::TooMany(LIMIT + 1)));
        let map = |number| mount(&[&format!("idmap=uids=0-{number}-1")]);
        let mounts: Vec<_> = (0..=MAPS_LIMIT).map(map).collect();
        assert_eq!(
            served(&mounts),
            Err(ServedError::TooManyMaps(MAPS_LIMIT + 1))
        );
        assert_eq!(served(&mounts[1..]).unwrap().len(), MAPS_LIMIT);
    }
}
