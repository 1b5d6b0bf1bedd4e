//! File systems that have taken what was written before a file is closed. Those of other hosts and of programs may send it only then, and
//! `close`(2) tells what went wrong.

use container_isolation::mountinfo::{Mounted, around};
use container_resource::share::Source;

/// Those of Linux whose files have no `flush` of their own (`struct file_operations`), and that of ZFS.
const LOCAL: [&str; 20] = [
    "bcachefs",
    "btrfs",
    "erofs",
    "exfat",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "hugetlbfs",
    "iso9660",
    "jfs",
    "minix",
    "ntfs3",
    "overlay",
    "ramfs",
    "squashfs",
    "tmpfs",
    "vfat",
    "xfs",
    "zfs",
];

/// Whether a file below one of `shares` is elsewhere than on a local file system, with these `mounts` of the host.
pub fn may_close_fail(shares: &[Source], mounts: &[Mounted]) -> bool {
    let is_local = |mounted: &Mounted| LOCAL.contains(&&*mounted.kind);
    shares.iter().any(|share| {
        let below = mounts
            .iter()
            .filter(|mounted| mounted.place.starts_with(&share.path));
        let mut seen = below.chain(around(mounts, &share.path));
        seen.any(|mounted| !is_local(mounted))
    })
}

#[cfg(test)]
mod tests {
    use container_isolation::mountinfo;

    use super::*;

    #[test]
    fn one_that_is_elsewhere_is_enough() {
        let mounts = mountinfo::parse(
            b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
              23 22 0:5 / /srv rw - nfs4 host:/srv rw\n\
              24 22 0:21 / /srv/local rw - tmpfs none rw\n\
              25 22 0:22 / /home rw - xfs /dev/sdb rw\n\
              26 25 0:30 / /home/me/far rw - fuse.sshfs host: rw\n",
        );
        let fails = |paths: &[&str]| {
            let share = |path: &&str| Source {
                path: path.into(),
                read_only: false,
            };
            may_close_fail(&paths.iter().map(share).collect::<Vec<_>>(), &mounts)
        };
        for local in [&["/etc"][..], &["/srv/local/a", "/home/you"], &[]] {
            assert!(!fails(local), "{local:?}");
        }
        for far in [&["/"][..], &["/srv"], &["/srv/a"], &["/etc", "/home/me"]] {
            assert!(fails(far), "{far:?}");
        }
    }
}
