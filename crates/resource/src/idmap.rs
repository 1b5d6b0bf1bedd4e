//! Maps of owners between a mount's files and the container: `idmap` of `--mount type=bind`, as podman writes it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bind;

/// The most ranges of one kind: what a user namespace takes (`user_namespaces(7)`).
const MOST: usize = 340;
/// Ids of Linux, without the last one, which means none.
const IDS: u64 = u32::MAX as u64;

/// Owner of files without an owner in the container: the kernel's `overflowuid`.
pub const NOBODY: u32 = 65534;

/// Ids of files that are others in the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The first one, of the files.
    pub from: u32,
    /// What it is in the container.
    pub to: u32,
    /// How many follow each other, at least 1.
    pub count: u32,
}

/// Which owners of files are who in the container. Files of others belong to [`NOBODY`] there, and others make none; but root makes the
/// files of the first range's first id where no range has root in the container.
///
/// The files' ids are those that the container would see without a map: 0 is root if root started it, else the user who did, whose
/// subordinate ids follow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// Users.
    pub users: Vec<Range>,
    /// Groups.
    pub groups: Vec<Range>,
}

/// Why a text is no map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid idmap '{text}': {reason}")]
pub struct IdMapError {
    text: String,
    reason: Reason,
}

/// What is wrong with a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Reason {
    #[error("uids=<of the files>-<in the container>-<count>[#...][;gids=...] is expected")]
    Form,
    #[error("a range has at least one id, and the last id is 4294967294")]
    Ids,
    #[error("an id is in two ranges")]
    Twice,
    #[error("there are at most {MOST} ranges of users, and of groups")]
    Many,
}

impl FromStr for IdMap {
    type Err = IdMapError;

    /// `uids=0-1000-1#10-2000-5;gids=0-1000-1`. An `@` before a range is podman's for the ids of the container's user namespace: there is
    /// none here. What is left out is as it is.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason| IdMapError {
            text: text.to_owned(),
            reason,
        };
        let form = || invalid(Reason::Form);
        let (mut users, mut groups) = (None, None);
        for part in text.split(';').filter(|part| !part.is_empty()) {
            let (kind, ranges) = part.split_once('=').ok_or_else(form)?;
            let place = match kind {
                "uids" => &mut users,
                "gids" => &mut groups,
                _ => return Err(form()),
            };
            let ranges = ranges.split('#').map(range).collect::<Result<Vec<_>, _>>();
            let ranges = ranges.and_then(sound).map_err(invalid)?;
            if place.replace(ranges).is_some() {
                return Err(form());
            }
        }
        let same = || {
            vec![Range {
                from: 0,
                to: 0,
                count: u32::MAX,
            }]
        };
        if users.is_none() && groups.is_none() {
            return Err(form());
        }
        Ok(Self {
            users: users.unwrap_or_else(same),
            groups: groups.unwrap_or_else(same),
        })
    }
}

impl IdMap {
    /// What the last `idmap=` among the options of a mount asks for.
    ///
    /// # Errors
    /// When it is no map.
    pub fn of_options(options: &[String]) -> Result<Option<Self>, IdMapError> {
        let mut options = options.iter().rev();
        let text = options.find_map(|option| option.strip_prefix(bind::IDMAP));
        text.map(str::parse).transpose()
    }
}

fn range(text: &str) -> Result<Range, Reason> {
    let text = text.strip_prefix('@').unwrap_or(text);
    let mut numbers = text.split('-').map(|number| {
        let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let plain = plain.then_some(number).ok_or(Reason::Form)?;
        plain.parse().map_err(|_| Reason::Ids)
    });
    let mut next = || numbers.next().unwrap_or(Err(Reason::Form));
    let [from, to, count] = [next()?, next()?, next()?];
    if numbers.next().is_some() {
        return Err(Reason::Form);
    }
    let ends = |first: u32| u64::from(first) + u64::from(count);
    if count == 0 || ends(from) > IDS || ends(to) > IDS {
        return Err(Reason::Ids);
    }
    Ok(Range { from, to, count })
}

/// The same ranges, where the kernel would take them: not too many, and no id twice, on either side.
fn sound(ranges: Vec<Range>) -> Result<Vec<Range>, Reason> {
    let apart = |first: fn(&Range) -> u32| {
        let mut all: Vec<_> = ranges
            .iter()
            .map(|range| (u64::from(first(range)), u64::from(range.count)))
            .collect();
        all.sort_unstable();
        all.windows(2)
            .all(|pair| pair[0].0 + pair[0].1 <= pair[1].0)
    };
    if ranges.len() > MOST {
        return Err(Reason::Many);
    }
    if !apart(|range| range.from) || !apart(|range| range.to) {
        return Err(Reason::Twice);
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn maps_are_written_as_podman_has_them() {
        let range = |from, to, count| Range { from, to, count };
        let all = vec![range(0, 0, u32::MAX)];
        for (text, users, groups) in [
            (
                "uids=0-1000-1;gids=0-2000-1",
                vec![range(0, 1000, 1)],
                vec![range(0, 2000, 1)],
            ),
            (
                "uids=0-1-10#10-11-10;gids=@0-100-10",
                vec![range(0, 1, 10), range(10, 11, 10)],
                vec![range(0, 100, 10)],
            ),
            ("gids=5-6-1", all.clone(), vec![range(5, 6, 1)]),
            ("uids=0-0-4294967295", all.clone(), all.clone()),
        ] {
            let map: IdMap = text.parse().unwrap();
            assert_eq!(map, IdMap { users, groups }, "{text}");
        }
        for (text, reason) in [
            ("", Reason::Form),
            (";", Reason::Form),
            ("x", Reason::Form),
            ("uids", Reason::Form),
            ("uids=", Reason::Form),
            ("uids=1-2", Reason::Form),
            ("uids=1-2-3-4", Reason::Form),
            ("uids=+1-2-3", Reason::Form),
            ("uids=-1-2-3", Reason::Form),
            ("uids=0:1000:1", Reason::Form),
            ("uids=0-1-1;uids=0-1-1", Reason::Form),
            ("pids=0-1-1", Reason::Form),
            ("uids=0-1-1,gids=0-1-1", Reason::Form),
            ("uids=1-2-0", Reason::Ids),
            ("uids=0-0-4294967296", Reason::Ids),
            ("uids=1-0-4294967295", Reason::Ids),
            ("uids=4294967295-0-1", Reason::Ids),
            ("uids=0-1-2#1-5-1", Reason::Twice),
            ("uids=0-1-1#1-1-1", Reason::Twice),
        ] {
            let error = text.parse::<IdMap>().unwrap_err();
            assert_eq!(error.reason, reason, "{text}");
            let shown = format!("invalid idmap '{text}': {reason}");
            assert_eq!(error.to_string(), shown);
        }
        let many = |count| {
            let ranges: Vec<_> = (0..count).map(|id| format!("{id}-{id}-1")).collect();
            format!("gids={}", ranges.join("#"))
        };
        assert!(many(MOST).parse::<IdMap>().is_ok());
        let error = many(MOST + 1).parse::<IdMap>().unwrap_err();
        assert_eq!(error.reason, Reason::Many);
    }

    #[test]
    fn the_last_one_holds() {
        let of = |options: &[&str]| {
            let options: Vec<_> = options.iter().map(|option| (*option).to_owned()).collect();
            IdMap::of_options(&options)
        };
        assert_eq!(of(&["ro"]), Ok(None));
        let last = of(&["idmap=uids=0-1-1", "ro", "idmap=uids=0-2-1"]);
        assert_eq!(last, Ok(Some("uids=0-2-1".parse().unwrap())));
        of(&["idmap="]).unwrap_err();
    }

    proptest! {
        #[test]
        fn whatever_is_read_has_each_id_once(text in "(uids|gids)=[0-9@#-]{0,30}(;gids=[0-9-]{0,12})?") {
            if let Ok(map) = text.parse::<IdMap>() {
                prop_assert!(sound(map.users).is_ok() && sound(map.groups).is_ok());
            }
        }
    }
}
