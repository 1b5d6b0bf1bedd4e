//! What PID 1 does before it can be spoken to: kernel file systems, control groups, limits, `lo`.

mod loopback;
mod modules;

use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::process::{Resource, Rlimit, setrlimit};
use thiserror::Error;

use crate::container::{SysctlError, cgroup, set_sysctl};

/// Where the guest's own mounts are. Containers get a view without them.
pub const GUEST_MOUNTS: [&str; 5] = ["/proc", "/sys", "/dev", IMAGE, UPPER];
/// Where the guest has what it makes itself.
pub const RUN: &str = "/run";
/// Mount point of the image (EROFS).
pub const IMAGE: &str = "/run/image";
/// Mount point of the writable disk (ext4) or tmpfs under the overlay.
pub const UPPER: &str = "/run/upper";

/// Open files: what dockerd and containerd grant, and the kernel's default `fs.nr_open`.
const OPEN_FILES: u64 = 1_048_576;

/// Kernel parameters of every guest; a container's own come after.
const PARAMETERS: [(&str, &str); 5] = [
    // What a vCPU's lists of free pages may hold, as a divisor of the guest's memory. They are not reported to the host:
    // by default a guest keeps some 40 MiB there after a peak, and the last of its free memory leaves it in 15 s, not 2.
    ("vm.percpu_pagelist_high_fraction", "256"),
    // As Apple's guests have them.
    ("vm.overcommit_memory", "1"),
    ("vm.max_map_count", "262144"),
    // The network is the container's own, so every user of it may listen at any port and ping, as docker has it.
    ("net.ipv4.ip_unprivileged_port_start", "0"),
    ("net.ipv4.ping_group_range", "0 2147483647"),
];

/// Whoever takes something away waits until the kernel's readers have let go of it. By itself the kernel waits for its next ticks, 4 ms each:
/// so a file system with nothing to write took 9 to 13 ms to become read-only, and takes 0.2 where its few CPUs are asked instead
/// (`rcupdate.rcu_expedited` of kernel-parameters.txt).
const EXPEDITED: &str = "/sys/kernel/rcu_expedited";

/// A step of the early boot that failed; the guest is of no use then.
#[derive(Debug, Error)]
pub enum BootError {
    /// One of the kernel's file systems.
    #[error("cannot mount {target}")]
    Mount {
        target: &'static str,
        #[source]
        source: io::Error,
    },
    /// The hierarchy under which the container will live.
    #[error("cannot prepare the control groups")]
    ControlGroups(#[source] io::Error),
    /// The limit on open files.
    #[error("cannot raise the limit of open files")]
    OpenFiles(#[source] io::Error),
    /// A parameter of the kernel.
    #[error(transparent)]
    Parameter(#[from] SysctlError),
    /// A driver of the kernel.
    #[error(transparent)]
    Module(#[from] modules::ModuleError),
    /// The loopback interface.
    #[error("cannot bring up lo")]
    Loopback(#[source] io::Error),
}

/// Makes the guest's kernel usable. Touches no disk, so that the machine can be saved after it as a template.
pub fn prepare() -> Result<(), BootError> {
    let strict = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    for (fs, target, flags) in [
        ("devtmpfs", "/dev", MountFlags::NOSUID),
        ("sysfs", "/sys", strict),
        ("proc", "/proc", strict),
        ("cgroup2", cgroup::ROOT, strict),
    ] {
        match mount(fs, target, fs, flags, None) {
            // Of a guest with a disk as its root the kernel has mounted /dev.
            Ok(()) | Err(Errno::BUSY) => {}
            Err(source) => return Err(mount_failed(target)(source.into())),
        }
    }
    modules::load()?;
    if !Path::new(IMAGE).exists() {
        run_directories().map_err(mount_failed(RUN))?;
    }
    control_groups().map_err(BootError::ControlGroups)?;
    let limit = Rlimit {
        current: Some(OPEN_FILES),
        maximum: Some(OPEN_FILES),
    };
    for (name, value) in PARAMETERS {
        set_sysctl(name, value)?;
    }
    // A kernel without it is slower.
    let _ = fs::write(EXPEDITED, "1");
    setrlimit(Resource::Nofile, limit).map_err(|source| BootError::OpenFiles(source.into()))?;
    loopback::up().map_err(BootError::Loopback)
}

fn mount_failed(target: &'static str) -> impl FnOnce(io::Error) -> BootError {
    move |source| BootError::Mount { target, source }
}

/// Makes the mount points of the container's disks, in memory: the root is an init image that was not made for us.
fn run_directories() -> io::Result<()> {
    let strict = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", RUN, "tmpfs", strict, Some(c"mode=0755"))?;
    [IMAGE, UPPER].into_iter().try_for_each(fs::create_dir)
}

/// Makes the container's parent group with every controller and the usual device filter. The agent itself stays
/// in the root group, which may have members of its own: moving it would wait for the kernel's readers.
fn control_groups() -> io::Result<()> {
    cgroup::delegate_controllers(cgroup::ROOT)?;
    let parent = cgroup::parent();
    fs::create_dir(&parent)?;
    cgroup::delegate_controllers(&parent)?;
    cgroup::restrict_devices(&parent, &cgroup::usual_devices())
}
