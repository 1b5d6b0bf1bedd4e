//! The file system of the app root: what disks, locks and sockets need of it. It is tried, as its name says little: FUSE and NFS are many.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;

use container_api::roots::Roots;
use container_resource::check::Check;
use rustix::fs::{FallocateFlags, FlockOperation, fallocate};
use rustix::process::{Flock, FlockType, fcntl_getlk};

/// Bytes that a file seems to have which takes none.
const SPARSE: u64 = 1 << 30;
/// Where it has some, and how many.
const DATA: (u64, usize) = (512 << 20, 64 << 10);

const ELSEWHERE: &str =
    "put the app root on another file system: container system start --app-root";

/// Says what it lacks; one line where that is nothing.
pub fn checks(roots: &Roots) -> Vec<Check> {
    // Nothing is made where nothing is yet.
    if !roots.apiserver_lock().exists() {
        return Vec::new();
    }
    match Found::look(&roots.app) {
        Ok(found) => found.checks(&roots.app),
        Err(error) => vec![Check::fail(
            "file system",
            format!("{} cannot be written: {error}", roots.app.display()),
            "mount it to be written to, or give it to who runs the system",
        )],
    }
}

/// What a file system can do.
#[derive(Clone, Copy, Debug)]
struct Found {
    locks: bool,
    sockets: bool,
    sparse: bool,
    /// Users other than the one who mounted it may use it. A machine of root's is another one.
    open: bool,
    /// Says where the holes of a file are.
    tells: bool,
    punches: bool,
}

impl Found {
    fn look(app: &Path) -> io::Result<Self> {
        let path = app.join(format!(".doctor-{}", std::process::id()));
        let file = container_files::create(&path)?;
        // Before there is anything in it that somebody would have to clear away.
        std::fs::remove_file(&path)?;
        let found = Self::of(&file)?;
        // By the descriptor of its directory: the path of a socket is short.
        let place = File::open(app)?;
        let own = std::os::fd::AsRawFd::as_raw_fd(&place);
        let name = path.file_name().unwrap_or_default();
        let socket = Path::new("/proc/self/fd").join(own.to_string()).join(name);
        let sockets = UnixListener::bind(socket).is_ok();
        if sockets {
            std::fs::remove_file(&path)?;
        }
        let device = place.metadata()?.dev();
        let mounts = std::fs::read("/proc/self/mountinfo")?;
        let mounts = String::from_utf8_lossy(&mounts);
        let open = !rustix::process::geteuid().is_root() || !is_closed(&mounts, device);
        Ok(Self {
            sockets,
            open,
            ..found
        })
    }

    fn of(file: &File) -> io::Result<Self> {
        let flock = rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
        let lock = fcntl_getlk(file, &Flock::from(FlockType::WriteLock)).is_ok();
        let (offset, length) = DATA;
        let grown = file.set_len(SPARSE).is_ok();
        file.write_all_at(&vec![1; length], offset)?;
        // Some give room only when they have to.
        file.sync_all()?;
        let allocated = file.metadata()?.blocks() * 512;
        let tells = container_files::tells_of_holes(file)?;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(Self {
            locks: flock && lock,
            sockets: false,
            open: true,
            sparse: grown && allocated < SPARSE / 2,
            tells,
            punches: fallocate(file, hole, offset, length as u64).is_ok(),
        })
    }

    fn checks(self, app: &Path) -> Vec<Check> {
        let shown = app.display();
        let fails = [
            (
                self.open,
                "is for the user alone who mounted it: machines, which are another one, cannot read there (FUSE's option allow_other)",
            ),
            (
                self.locks,
                "has no locks: nobody knows who has a container or a volume",
            ),
            (
                self.sockets,
                "has no Unix sockets: containers are spoken to through those",
            ),
            (
                self.sparse,
                "has no sparse files: each disk would take all of its size",
            ),
        ];
        let warns = [
            (
                self.tells,
                "does not tell where a file has holes: a copy of a disk (commit, volume export) reads all of its size",
            ),
            (
                self.punches,
                "takes no room back from a file: what containers delete stays allocated until they are deleted",
            ),
        ];
        let lacks = |all: &[(bool, &'static str)]| -> Vec<String> {
            let lacking = all.iter().filter(|(has, _)| !has);
            lacking
                .map(|(_, what)| format!("that of {shown} {what}"))
                .collect()
        };
        let fail = lacks(&fails).into_iter();
        let fail = fail.map(|detail| Check::fail("file system", detail, ELSEWHERE));
        let warn = lacks(&warns).into_iter();
        let warn = warn.map(|detail| Check::warn("file system", detail, ELSEWHERE));
        let mut checks: Vec<Check> = fail.chain(warn).collect();
        if checks.is_empty() {
            checks.push(Check::ok(
                "file system",
                format!("sparse files, holes, locks and sockets in {shown}"),
            ));
        }
        checks
    }
}

/// Whether the file system of `device` is one of FUSE that is for the user alone who mounted it, by `mounts` (`/proc/self/mountinfo`).
fn is_closed(mounts: &str, device: u64) -> bool {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let device = format!("{major}:{minor}");
    let mut mounts = mounts.lines();
    mounts.any(|line| {
        // proc_pid_mountinfo(5).
        let Some((mount, file_system)) = line.split_once(" - ") else {
            return false;
        };
        let mut words = file_system.split(' ');
        let kind = words.next().unwrap_or_default();
        let options = words.nth(1).unwrap_or_default();
        mount.split(' ').nth(2) == Some(device.as_str())
            && (matches!(kind, "fuse" | "fuseblk") || kind.starts_with("fuse."))
            && !options.split(',').any(|option| option == "allow_other")
    })
}

#[cfg(test)]
mod tests {
    use container_resource::check::Status;

    use super::*;

    #[test]
    fn what_a_file_system_lacks_is_told() {
        let scratch = tempfile::tempdir().unwrap();
        let found = Found::look(scratch.path()).unwrap();
        let sound = found.locks && found.sockets && found.sparse && found.open;
        assert!(sound, "{found:?}");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
        let mounts = "29 1 254:0 / / rw - ext4 /dev/root rw\n\
             40 29 0:41 / /mnt/a rw,relatime shared:9 - fuse.ext4 /x rw,user_id=0,group_id=0\n\
             41 29 0:42 / /mnt/b rw - fuse.ext4 /x rw,user_id=0,group_id=0,allow_other\n";
        let closed = [(254, 0), (0, 41), (0, 42), (0, 43)]
            .map(|(major, minor)| is_closed(mounts, rustix::fs::makedev(major, minor)));
        assert_eq!(closed, [false, true, false, false]);
        let all = Found {
            open: true,
            locks: true,
            sockets: true,
            sparse: true,
            tells: true,
            punches: true,
        };
        let plain = Found {
            tells: false,
            punches: false,
            ..all
        };
        let bare = Found {
            sockets: false,
            ..all
        };
        for (found, expected) in [
            (all, &[(Status::Ok, "sparse files")][..]),
            (
                plain,
                &[(Status::Warn, "holes"), (Status::Warn, "allocated")],
            ),
            (bare, &[(Status::Fail, "no Unix sockets")]),
        ] {
            let checks = found.checks(scratch.path());
            assert_eq!(checks.len(), expected.len(), "{checks:?}");
            for (check, (status, words)) in checks.iter().zip(expected) {
                let same = check.status == *status && check.detail.contains(words);
                assert!(same, "{check:?}");
            }
        }
        let gone = Found::look(&scratch.path().join("none"));
        assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
