//! A map of owners, as the file server carries it out.
//!
//! It is done here and not by a mount of the guest (`MOUNT_ATTR_IDMAP`), so it works with every kernel of a guest, and with file systems
//! below a share, of which Linux 6.12 makes no such mounts. It keeps nobody out: root in the guest may be any of its users.

use container_resource::idmap::{NOBODY, Range};
use virtiofsd::soft_idmap::cmdline::IdMap;

/// Ids of Linux, without the last one, which means none.
const END: u32 = u32::MAX;

/// What the container's ids become, and the files'. If the process may not be `others`, whoever makes a file makes one of its own user.
pub fn translation(ranges: &[Range], others: bool) -> Vec<IdMap> {
    let mut all = Vec::new();
    for range in ranges {
        let (from_guest, count) = (range.to, range.count);
        all.push(if others {
            IdMap::Guest {
                from_guest,
                to_host: range.from,
                count,
            }
        } else {
            IdMap::SquashGuest {
                from_guest,
                to_host: 0,
                count,
            }
        });
        all.push(IdMap::Host {
            from_host: range.from,
            to_guest: range.to,
            count,
        });
    }
    let mut in_container: Vec<_> = ranges.iter().map(|range| (range.to, range.count)).collect();
    let names_root = in_container.iter().any(|(first, _)| *first == 0);
    if let (Some(first), false) = (ranges.first(), names_root) {
        all.push(IdMap::Guest {
            from_guest: 0,
            to_host: if others { first.from } else { 0 },
            count: 1,
        });
        in_container.push((0, 1));
    }
    for (from_guest, count) in gaps(in_container) {
        all.push(IdMap::ForbidGuest { from_guest, count });
    }
    let of_files = ranges
        .iter()
        .map(|range| (range.from, range.count))
        .collect();
    for (from_host, count) in gaps(of_files) {
        all.push(IdMap::SquashHost {
            from_host,
            to_guest: NOBODY,
            count,
        });
    }
    all
}

/// Where ids are that are in none of `known`: the first ones, and how many follow. No two of `known` overlap.
fn gaps(mut known: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    known.sort_unstable();
    known.push((END, 0));
    let mut next = 0;
    let mut gaps = Vec::new();
    for (first, count) in known {
        if first > next {
            gaps.push((next, first - next));
        }
        next = first.saturating_add(count);
    }
    gaps
}

#[cfg(test)]
mod tests {
    use container_resource::idmap::IdMap as Owners;
    use virtiofsd::soft_idmap::{GuestUid, HostUid, Id as _, IdMap};

    use super::*;

    struct Map(IdMap<GuestUid, HostUid>);

    impl Map {
        fn new(text: &str, others: bool) -> Self {
            let map: Owners = text.parse().unwrap();
            Self(IdMap::try_from(translation(&map.users, others)).unwrap())
        }

        fn makes(&self, guest: u32) -> Option<u32> {
            let host = self.0.map_guest(guest.into()).ok()?;
            Some(host.into_inner())
        }

        fn sees(&self, host: u32) -> u32 {
            self.0.map_host(host.into()).unwrap().into_inner()
        }
    }

    #[test]
    fn both_ways_are_each_other_s_reverse() {
        let map = Map::new("uids=0-1000-1#10-20-5", true);
        for (file, container) in [(0, 1000), (10, 20), (14, 24)] {
            assert_eq!(map.makes(container), Some(file));
            assert_eq!(map.sees(file), container);
        }
        for file in [1, 9, 15, 1000, NOBODY, END - 1] {
            assert_eq!(map.sees(file), NOBODY, "{file}");
        }
        for container in [1, 19, 25, 999, 1001, END - 1] {
            assert_eq!(map.makes(container), None, "{container}");
        }
        // No id stays none: the kernel asks for no change so.
        assert_eq!(map.makes(u32::MAX), Some(u32::MAX));
    }

    #[test]
    fn root_makes_files_of_whom_the_map_names_first() {
        assert_eq!(Map::new("uids=1000-1000-1", true).makes(0), Some(1000));
        assert_eq!(Map::new("uids=0-1000-1", true).makes(0), Some(0));
        assert_eq!(Map::new("uids=5-1000-1#7-0-1", true).makes(0), Some(7));
    }

    #[test]
    fn a_user_without_other_ids_makes_their_own_files() {
        let map = Map::new("uids=0-1000-1#1-1001-10", false);
        for container in [0, 1000, 1001, 1010] {
            assert_eq!(map.makes(container), Some(0), "{container}");
        }
        assert_eq!(map.makes(1011), None);
        assert_eq!((map.sees(0), map.sees(NOBODY)), (1000, NOBODY));
    }

    #[test]
    fn all_ids_may_be_named() {
        let map = Map::new("uids=0-0-4294967295", true);
        assert_eq!(
            (map.makes(END - 1), map.sees(END - 1)),
            (Some(END - 1), END - 1)
        );
    }
}
