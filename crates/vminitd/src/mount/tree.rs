//! Changes of mounts, in this program's words.

use std::os::fd::AsFd;

use container_isolation::mount;
use rustix::fs::CWD;
use rustix::mount::MountPropagationFlags;

use super::options::MountFlagSet;

/// Attaches a detached mount over `target`.
pub fn attach(mount: impl AsFd, target: &str) -> rustix::io::Result<()> {
    mount::attach(mount, CWD, target)
}

/// Changes the attributes of `mount` and, if `recursive`, of those below it.
pub fn set_attributes(
    mount: impl AsFd,
    flags: MountFlagSet,
    recursive: bool,
) -> rustix::io::Result<()> {
    let [on, off] = [flags.on, flags.off].map(|flags| u64::from(flags.bits()));
    mount::set_attributes(mount, on, off, recursive)
}

/// Changes the propagation of the mount at `target`.
pub fn set_propagation(target: &str, change: MountPropagationFlags) -> rustix::io::Result<()> {
    rustix::mount::mount_change(target, change)
}
