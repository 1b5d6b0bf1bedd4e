//! A root directory with the system's programs and libraries and nothing of anybody's.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};

use super::c_string;
use super::landlock::Ruleset;

/// Where systems keep programs and libraries. What is a symbolic link stays one.
const SYSTEM: [&str; 5] = ["/usr", "/lib", "/lib64", "/nix", "/gnu"];
/// Single files that a dynamically linked program needs or is faster with.
const FILES: [&str; 2] = ["/etc/ld.so.cache", "/dev/null"];

/// What the root holds, in the order in which it is made. Paths have no leading slash.
#[derive(Debug, Default)]
pub(super) struct Root {
    directories: Vec<CString>,
    links: Vec<(CString, CString)>,
    binds: Vec<Bind>,
}

/// Something of the host that is visible inside.
#[derive(Debug)]
struct Bind {
    source: CString,
    target: CString,
    is_directory: bool,
    read_only: bool,
}

impl Root {
    /// Plans a root in which `program` can run and use `devices`.
    pub(super) fn plan(program: &Path, devices: &[&Path]) -> io::Result<Self> {
        let mut root = Self::default();
        let proc = root.directory(Path::new("/proc"))?;
        debug_assert!(proc);
        for path in SYSTEM.map(Path::new) {
            match path.symlink_metadata() {
                Ok(found) if found.is_symlink() => root.link(path)?,
                Ok(found) if found.is_dir() => root.bind(path, true, true)?,
                _ => {}
            }
        }
        let system = SYSTEM.iter().any(|system| program.starts_with(system));
        if let Some(prefix) = program.parent().and_then(Path::parent).filter(|_| !system) {
            // Its libraries and data are beside it, as in /opt/qemu/{bin,lib,share}.
            let prefix = if prefix.parent().is_none() {
                program
            } else {
                prefix
            };
            root.bind(prefix, prefix.is_dir(), true)?;
        }
        for path in FILES
            .map(Path::new)
            .iter()
            .chain(devices)
            .filter(|path| path.exists())
        {
            root.bind(path, false, !path.starts_with("/dev"))?;
        }
        Ok(root)
    }

    /// Adds a directory with its parents; says whether it is new.
    fn directory(&mut self, path: &Path) -> io::Result<bool> {
        let Some(parent) = path.parent() else {
            return Ok(false);
        };
        self.directory(parent)?;
        let path = relative(path)?;
        let new = !self.directories.contains(&path);
        if new {
            self.directories.push(path);
        }
        Ok(new)
    }

    fn link(&mut self, path: &Path) -> io::Result<()> {
        self.links
            .push((c_string(&std::fs::read_link(path)?)?, relative(path)?));
        Ok(())
    }

    fn bind(&mut self, path: &Path, is_directory: bool, read_only: bool) -> io::Result<()> {
        let mount_point = if is_directory {
            Some(path)
        } else {
            path.parent()
        };
        if let Some(directory) = mount_point {
            self.directory(directory)?;
        }
        let (source, target) = (c_string(path)?, relative(path)?);
        self.binds.push(Bind {
            source,
            target,
            is_directory,
            read_only,
        });
        Ok(())
    }

    /// Allows what the root would hold. Allocates nothing.
    pub(super) fn allow(&self, ruleset: &Ruleset) -> io::Result<()> {
        for bind in &self.binds {
            ruleset.allow(&bind.source, !bind.read_only)?;
        }
        Ok(())
    }

    /// Builds the root and makes it the calling process's. Allocates nothing.
    pub(super) fn enter(&self) -> io::Result<()> {
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change(c"/", private)?;
        let root = new_file_system(c"tmpfs", &[(c"size", c"64k"), (c"mode", c"755")])?;
        // Linux before 6.15 mounts nothing inside of what is not mounted itself. This is a directory
        // that every host has and that nothing below is taken from.
        attach(root.as_fd(), CWD, c"/proc")?;
        for directory in &self.directories {
            rustix::fs::mkdirat(&root, directory, Mode::from_raw_mode(0o755))?;
        }
        for (target, link) in &self.links {
            rustix::fs::symlinkat(target, &root, link)?;
        }
        for bind in &self.binds {
            bind.attach(root.as_fd())?;
        }
        // Only the caller's own process is in it, and only its own directory is of use.
        let proc = new_file_system(c"proc", &[(c"subset", c"pid")])?;
        attach(proc.as_fd(), root.as_fd(), c"proc")?;
        set_read_only(root.as_fd(), AtFlags::EMPTY_PATH)?;
        rustix::process::fchdir(&root)?;
        rustix::process::pivot_root(c".", c".")?;
        rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
        rustix::process::chdir(c"/")?;
        Ok(())
    }
}

impl Bind {
    fn attach(&self, root: BorrowedFd<'_>) -> io::Result<()> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE;
        let tree = rustix::mount::open_tree(CWD, &self.source, flags)?;
        if self.read_only {
            set_read_only(
                tree.as_fd(),
                AtFlags::EMPTY_PATH | AtFlags::from_bits_retain(AT_RECURSIVE),
            )?;
        }
        if !self.is_directory {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            drop(rustix::fs::openat(root, &self.target, flags, Mode::RUSR)?);
        }
        attach(tree.as_fd(), root, &self.target)
    }
}

/// `AT_RECURSIVE` of linux/fcntl.h: the attributes hold for the mounts below, too.
const AT_RECURSIVE: u32 = 0x8000;

/// Makes a file system that is not yet part of any tree.
fn new_file_system(
    kind: &std::ffi::CStr,
    options: &[(&std::ffi::CStr, &std::ffi::CStr)],
) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        rustix::mount::fsconfig_set_string(context.as_fd(), *name, *value)?;
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    Ok(rustix::mount::fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}

fn attach(
    mount: BorrowedFd<'_>,
    directory: BorrowedFd<'_>,
    path: &std::ffi::CStr,
) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(
        mount, c"", directory, path, flags,
    )?)
}

fn set_read_only(mount: BorrowedFd<'_>, flags: AtFlags) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path is a C string, and the structure is passed with its own size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags.bits(),
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn relative(path: &Path) -> io::Result<CString> {
    let relative: PathBuf = path.strip_prefix("/").unwrap_or(path).to_owned();
    c_string(&relative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_outside_the_system_brings_its_prefix() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("qemu/bin/qemu-system-x86_64");
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        std::fs::write(&program, "").unwrap();
        let root = Root::plan(&program, &[]).unwrap();
        let targets: Vec<_> = root
            .binds
            .iter()
            .map(|bind| bind.target.to_str().unwrap())
            .collect();
        let prefix = directory.path().join("qemu");
        assert!(
            targets.contains(&prefix.to_str().unwrap().trim_start_matches('/')),
            "{targets:?}"
        );
        // Every mount point's directory is made, parents first, each once.
        let made: Vec<_> = root
            .directories
            .iter()
            .map(|path| path.to_str().unwrap())
            .collect();
        for (index, path) in made.iter().enumerate() {
            assert!(!made[..index].contains(path));
            if let Some((parent, _)) = path.rsplit_once('/') {
                assert!(made[..index].contains(&parent), "{path}");
            }
        }
    }

    #[test]
    fn nothing_of_anybody_is_bound() {
        let root = Root::plan(Path::new("/usr/bin/qemu"), &[Path::new("/dev/null")]).unwrap();
        for bind in &root.binds {
            let path = bind.source.to_str().unwrap();
            assert!(
                !["/home", "/root", "/run", "/tmp", "/var"]
                    .iter()
                    .any(|p| path.starts_with(p))
            );
            assert!(bind.read_only || path.starts_with("/dev"), "{path}");
        }
    }
}
