//! Where a socket of the guest is mounted, in whatever mount namespace, another one comes in its place.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use container_isolation::mountinfo;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, fstat, fstatvfs, openat2, statat};
use rustix::mount::{UnmountFlags, unmount};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::mount;

/// Device and inode.
type Identity = (u64, u64);

/// `MOUNT_ATTR_RDONLY`, `_NOSUID`, `_NODEV`, `_NOEXEC` of linux/mount.h: the same bits as in `statvfs(3)`.
const ATTRIBUTES: u64 = 0xf;

/// A mount namespace, by a process that is in it.
struct Namespace {
    itself: File,
    root: OwnedFd,
    mounts: Vec<mountinfo::Mounted>,
}

/// A mount of the old socket.
struct Shown {
    /// The directory that it is in, below the root of its namespace.
    directory: PathBuf,
    name: PathBuf,
    /// The new socket, with the attributes of this mount.
    new: OwnedFd,
}

/// Shows the socket at `new` wherever a container sees the one that was `old`. It has no listener, so nobody loses anything by
/// the moment in which neither is there.
///
/// # Errors
/// What went wrong first; what can be done is done all the same.
pub fn replace(old: Identity, new: &Path) -> io::Result<()> {
    let mut result = Ok(());
    // A container may have made further ones out of its own.
    for namespace in namespaces()? {
        let shown: Vec<Shown> = namespace.find(old, new).collect();
        if shown.is_empty() {
            continue;
        }
        // The thread changes its namespace for good, so it is no other's.
        let thread = std::thread::spawn(move || namespace.replace(old, &shown));
        let replaced = thread.join();
        result = result.and(replaced.unwrap_or_else(|_| Err(io::ErrorKind::Other.into())));
    }
    result
}

/// All but this process's own. A process that ends meanwhile has none.
fn namespaces() -> io::Result<impl Iterator<Item = Namespace>> {
    let own = fs::read_link("/proc/self/ns/mnt")?;
    let mut found = BTreeMap::new();
    for process in fs::read_dir("/proc")?.flatten() {
        let process = process.path();
        if let Ok(link) = fs::read_link(process.join("ns/mnt"))
            && link != own
        {
            found.entry(link).or_insert(process);
        }
    }
    Ok(found
        .into_values()
        .flat_map(|process| Namespace::of(&process)))
}

impl Namespace {
    fn of(process: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            itself: File::open(process.join("ns/mnt"))?,
            root: rustix::fs::open(process.join("root"), flags, Mode::empty())?,
            mounts: mountinfo::parse(&fs::read(process.join("mountinfo"))?),
        })
    }

    /// Where `old` is mounted.
    fn find(&self, old: Identity, new: &Path) -> impl Iterator<Item = Shown> {
        // As the guest's own files are; a share of the host's may hang.
        let candidates = self.mounts.iter().filter(|mount| {
            mount.kind == "tmpfs" || mount.kind == "ramfs" || mount.kind == "rootfs"
        });
        candidates.filter_map(move |candidate| {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let place = candidate.place.strip_prefix("/").ok()?;
            let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
            let found = openat2(&self.root, place, flags, Mode::empty(), how).ok()?;
            let identity = fstat(&found).ok().map(|found| (found.st_dev, found.st_ino));
            if identity != Some(old) {
                return None;
            }
            let view = mount::view(CWD, new, false).ok()?;
            let attributes = fstatvfs(&found).ok()?.f_flag.bits() & ATTRIBUTES;
            container_isolation::mount::set_attributes(&view, attributes, 0, false).ok()?;
            Some(Shown {
                directory: place.parent()?.to_owned(),
                name: place.file_name()?.into(),
                new: view,
            })
        })
    }

    /// Moves the calling thread into it, for good.
    fn replace(&self, old: Identity, shown: &[Shown]) -> io::Result<()> {
        // SAFETY: this thread's root and working directory become its own; that affects neither memory nor descriptors.
        unsafe { unshare_unsafe(UnshareFlags::FS) }?;
        move_into_link_name_space(self.itself.as_fd(), Some(LinkNameSpaceType::Mount))?;
        rustix::process::fchdir(&self.root)?;
        rustix::process::chroot(c".")?;
        let mut result = Ok(());
        for shown in shown {
            result = result.and(shown.replace(&self.root, old));
        }
        result
    }
}

impl Shown {
    fn replace(&self, root: &OwnedFd, old: Identity) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        // No link that comes meanwhile leads elsewhere; and a place at which something is mounted cannot be moved.
        let directory = if self.directory.as_os_str().is_empty() {
            root.try_clone()?
        } else {
            openat2(root, &self.directory, flags, Mode::empty(), how)?
        };
        rustix::process::fchdir(&directory)?;
        let found = statat(CWD, &self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        if (found.st_dev, found.st_ino) != old {
            return Err(io::ErrorKind::NotFound.into());
        }
        unmount(&self.name, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
        Ok(container_isolation::mount::attach(
            &self.new, CWD, &self.name,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Who has a mount namespace in which `from` is mounted at `to`.
    struct Container(Child);

    impl Container {
        fn start(from: &Path, to: &Path) -> Self {
            let script = "mount --bind \"$0\" \"$1\" && echo ready && exec sleep 60";
            let mut child = Command::new("unshare")
                .args(["--mount", "--propagation", "private", "sh", "-c", script])
                .args([from, to])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            let output = child.stdout.as_mut().unwrap();
            io::BufRead::read_line(&mut io::BufReader::new(output), &mut line).unwrap();
            assert_eq!(line, "ready\n");
            Self(child)
        }

        fn connect(&self, place: &Path) -> io::Result<UnixStream> {
            let place = place.strip_prefix("/").unwrap();
            UnixStream::connect(Path::new(&format!("/proc/{}/root", self.0.id())).join(place))
        }
    }

    impl Drop for Container {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_container_sees_the_new_socket_where_it_saw_the_old_one() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let scratch = tempfile::tempdir_in("/dev/shm").unwrap();
        let [path, place, other] = ["0", "a place", "other"].map(|name| scratch.path().join(name));
        let (first, elsewhere) = (
            UnixListener::bind(&path).unwrap(),
            UnixListener::bind(&other).unwrap(),
        );
        fs::write(&place, "").unwrap();
        let shown = Container::start(&path, &place);
        let not = Container::start(&other, &place);
        shown.connect(&place).unwrap();
        drop(first);
        shown.connect(&place).unwrap_err();
        let old = fs::metadata(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = UnixListener::bind(&path).unwrap();
        shown.connect(&place).unwrap_err();
        replace((old.dev(), old.ino()), &path).unwrap();
        shown.connect(&place).unwrap();
        second.accept().unwrap();
        // Only there.
        not.connect(&place).unwrap();
        elsewhere.accept().unwrap();
        assert!(fs::metadata(&place).unwrap().is_file());
    }
}
