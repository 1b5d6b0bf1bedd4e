//! Builds the container around the calling process: namespaces' contents, root, mounts, devices.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{chdir, chroot, fchdir};
use rustix::system::{setdomainname, sethostname};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, unshare_unsafe};

use super::failure::{Context, Failure};
use super::plan::ContainerPlan;
use super::{devices, files, hidden, masks, mounts};
use crate::boot::GUEST_MOUNTS;
use crate::container::{Cgroup, set_sysctl, volumes};
use crate::mount;

/// From a copy of the guest's mount namespace to the container's own view, still writable.
pub fn build(plan: &ContainerPlan, root: &OwnedFd, cgroup: &Cgroup) -> Result<(), Failure> {
    if plan.namespaces.contains(ThreadNameSpaceType::CONTROL_GROUP) {
        // clone would have made the agent's group the root of the new namespace; by now ours is the container's.
        // SAFETY: a new cgroup namespace affects neither memory nor descriptors.
        unsafe { unshare_unsafe(UnshareFlags::NEWCGROUP) }
            .context(|| "cannot make the cgroup namespace")?;
    }
    cgroup
        .leave_birthplace()
        .context(|| "cannot enter the control group")?;
    for (name, value) in &plan.sysctls {
        set_sysctl(name, value)?;
    }
    if let Some(name) = &plan.hostname {
        sethostname(name.as_bytes()).context(|| format!("cannot set the hostname {name:?}"))?;
    }
    if let Some(name) = &plan.domainname {
        setdomainname(name.as_bytes())
            .context(|| format!("cannot set the domain name {name:?}"))?;
    }
    let prepared = mounts::prepare(&plan.mounts)?;
    enter(root)?;
    for file in &plan.files {
        files::write(file)?;
    }
    let hidden = hidden::find(plan)?;
    for mount in prepared {
        mount.attach()?;
    }
    for file in hidden {
        file.show()?;
    }
    let foreign_dev = plan
        .mounts
        .iter()
        .any(|mount| mount.options.bind && mounts::is_dev(&mount.target));
    if !foreign_dev && !plan.idle {
        devices::furnish(&plan.devices)?;
    }
    create_directory(&plan.process.cwd)
        .context(|| format!("cannot make the working directory {}", plan.process.cwd))
}

/// Takes away what the container may not see or change.
pub fn seal(plan: &ContainerPlan) -> Result<(), Failure> {
    plan.mounts.iter().try_for_each(mounts::seal)?;
    masks::protect(&plan.readonly_paths)?;
    masks::mask(&plan.masked_paths)?;
    if plan.read_only {
        masks::make_read_only("/")?;
    }
    if let Some(change) = plan.propagation {
        mount::set_propagation("/", change).context(|| "cannot set the root's propagation")?;
    }
    Ok(())
}

/// Makes `root` the root of this mount namespace.
///
/// `pivot_root(2)` refuses to leave an initramfs, so the new root is put over the old one, as `switch_root(8)`
/// does. The guest's own mounts are detached first: below the new root is nothing but the initramfs or init image.
fn enter(root: &OwnedFd) -> Result<(), Failure> {
    for target in volumes::mounted() {
        unmount(&target, UnmountFlags::DETACH)
            .context(|| format!("cannot detach {}", target.display()))?;
    }
    for target in GUEST_MOUNTS {
        unmount(target, UnmountFlags::DETACH).context(|| format!("cannot detach {target}"))?;
    }
    let step = || "cannot enter the container's root";
    mount::attach(root, "/").context(step)?;
    fchdir(root).context(step)?;
    chroot(".").context(step)?;
    chdir("/").context(step)
}

/// Makes a directory and its parents, which everybody may enter and only their owner write to.
pub fn create_directory(path: impl AsRef<Path>) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
}
