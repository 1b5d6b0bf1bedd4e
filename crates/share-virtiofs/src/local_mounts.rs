//! File systems that have taken what was written before a file is closed. Those of other hosts and of programs may send it only then, and
//! `close`(2) tells what went wrong.

use std::path::Path;

use container_isolation::mountinfo::{Mounted, around};
use container_resource::share::Source;

/// Those of Linux whose files have no `flush` of their own (`struct file_operations`), and that of ZFS.
const LOCAL: [&str; 19] = [
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
    "ramfs",
    "squashfs",
    "tmpfs",
    "vfat",
    "xfs",
    "zfs",
];

/// Whether a file below one of `shares` is elsewhere than on a local file system, with these `mounts` of the host. `is_there` says whether there
/// is something at a path.
pub fn may_close_fail(
    shares: &[Source],
    mounts: &[Mounted],
    is_there: impl Fn(&Path) -> bool,
) -> bool {
    let is_local = |mounted: &Mounted| match &*mounted.kind {
        "overlay" => is_over_local(mounted, mounts, &is_there),
        kind => LOCAL.contains(&kind),
    };
    shares.iter().any(|share| {
        let below = mounts
            .iter()
            .filter(|mounted| mounted.place.starts_with(&share.path));
        let mut seen = below.chain(around(mounts, &share.path));
        seen.any(|mounted| !is_local(mounted))
    })
}

/// Whether what is written to an overlay stays on a local file system: it passes `flush` on to the file of its upper directory. Where that is was
/// told by who mounted it, in whose view it may have been another place than here; nor is an overlay above an overlay looked through.
fn is_over_local(overlay: &Mounted, mounts: &[Mounted], is_there: impl Fn(&Path) -> bool) -> bool {
    let Some(upper) = overlay.option("upperdir") else {
        // Nothing is written to it.
        return true;
    };
    let upper = Path::new(&upper);
    let below = around(mounts, upper);
    upper.is_absolute()
        && is_there(upper)
        && below.is_some_and(|mounted| LOCAL.contains(&&*mounted.kind))
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
              26 25 0:30 / /home/me/far rw - fuse.sshfs host: rw\n\
              27 22 0:31 / /over/local rw - overlay o rw,lowerdir=/srv,upperdir=/home/you/u,workdir=/w\n\
              28 22 0:32 / /over/read ro - overlay o ro,lowerdir=/srv:/home\n\
              29 22 0:33 / /over/far rw - overlay o rw,lowerdir=/etc,upperdir=/srv/u\n\
              30 22 0:34 / /over/over rw - overlay o rw,lowerdir=/etc,upperdir=/over/local/u\n\
              31 22 0:35 / /over/gone rw - overlay o rw,lowerdir=/etc,upperdir=/gone/u\n\
              32 22 0:36 / /over/unknown rw - overlay o rw,lowerdir=/etc,upperdir=u\n",
        );
        let fails = |paths: &[&str]| {
            let share = |path: &&str| Source {
                path: path.into(),
                read_only: false,
            };
            let shares: Vec<_> = paths.iter().map(share).collect();
            may_close_fail(&shares, &mounts, |path| !path.starts_with("/gone"))
        };
        for local in [
            &["/etc"][..],
            &["/srv/local/a", "/home/you"],
            &["/over/local", "/over/read"],
            &[],
        ] {
            assert!(!fails(local), "{local:?}");
        }
        for far in [
            &["/"][..],
            &["/srv"],
            &["/srv/a"],
            &["/etc", "/home/me"],
            &["/over/far"],
            &["/over/over/a"],
            &["/over/gone"],
            &["/over/unknown"],
        ] {
            assert!(fails(far), "{far:?}");
        }
    }
}
