//! The maps of a user namespace with one user and one group in it (`user_namespaces`(7)). Maps of more ids are
//! [`crate::subordinate_ids`].

use std::fs;
use std::io;
use std::path::Path;

/// Maps one user and one group of the host, `outside`, to the number `inside` in the user namespace of the process whose directory in
/// `/proc` is `process`. Who is not privileged maps nobody but themselves, with [`map_own`].
///
/// # Errors
/// As `write(2)`: the kernel takes each map once, and from a process that may give these ids alone.
pub fn map_one(process: &Path, inside: u32, outside: [u32; 2]) -> io::Result<()> {
    for (file, outside) in ["uid_map", "gid_map"].iter().zip(outside) {
        fs::write(process.join(file), format!("{inside} {outside} 1\n"))?;
    }
    Ok(())
}

/// The same of the caller's own user and group, `outside`, for which no privilege is needed: a group is mapped by its user only
/// where the list of groups is given up.
///
/// # Errors
/// As [`map_one`].
pub fn map_own(process: &Path, inside: u32, outside: [u32; 2]) -> io::Result<()> {
    fs::write(process.join("setgroups"), "deny")?;
    map_one(process, inside, outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maps_are_those_of_one_id_and_a_group_costs_the_list_of_groups() {
        let names = ["uid_map", "gid_map", "setgroups"];
        let written = |own: bool| {
            let process = tempfile::tempdir().unwrap();
            let map = if own { map_own } else { map_one };
            map(process.path(), 5, [1000, 100]).unwrap();
            names.map(|name| fs::read_to_string(process.path().join(name)).unwrap_or_default())
        };
        assert_eq!(written(false), ["5 1000 1\n", "5 100 1\n", ""]);
        assert_eq!(written(true), ["5 1000 1\n", "5 100 1\n", "deny"]);
    }
}
