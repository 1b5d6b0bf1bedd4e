//! Places of a container that does not run which something is mounted at while it does: guards are there, which hold nothing and take nothing.

use std::fs;
use std::path::Path;

use rustix::fs::{StatVfsMountFlags, statfs, statvfs};

/// What guards of directories are (linux/magic.h); nothing else in the root of such a container is.
const GUARDS: [i64; 2] = [
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
];
/// `PROC_SUPER_MAGIC`.
const PROC: i64 = 0x9fa0;

/// Whether the container runs whose root this process has: it has a `/proc` then.
pub fn runs() -> bool {
    statfs("/proc").is_ok_and(|found| found.f_type == PROC)
}

/// Whether `path`, or as much of it as is there, leads to such a place.
pub fn is_absent(path: &Path) -> bool {
    let found = || {
        path.ancestors()
            .find_map(|path| fs::canonicalize(path).ok())
    };
    !runs() && found().is_some_and(|there| is_guard(&there))
}

/// Whether a guard is at `there`, or around it. That of a file is a view of the file that cannot be written to.
fn is_guard(there: &Path) -> bool {
    let is_read_only =
        |path| statvfs(path).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY));
    let of_directory = statfs(there).is_ok_and(|found| GUARDS.contains(&found.f_type));
    let of_file = || {
        let above = there.parent();
        there.is_file() && is_read_only(there) && above.is_some_and(|above| !is_read_only(above))
    };
    of_directory || of_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_in_memory_is_a_guard_and_a_disk_is_none() {
        assert!(is_guard(Path::new("/dev/shm")));
        for path in ["/proc", "/proc/self/status", "/sys"] {
            assert!(!is_guard(Path::new(path)), "{path}");
        }
        // These run.
        assert!(runs() && !is_absent(Path::new("/dev/shm/none")));
    }
}
