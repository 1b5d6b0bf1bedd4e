//! The host: what machines need.

use std::path::Path;

use container_api::roots::Roots;
use container_resource::check::Check;
use container_resource::size;
use rustix::process::{Resource, getrlimit};

/// Less room than this stops a pull or a build half-way, in bytes.
const LITTLE_SPACE: u64 = 2 << 30;
/// Less room than this does not hold a container's writable layer, in bytes.
const NO_SPACE: u64 = 64 << 20;
/// Descriptors of a busy helper: disks, streams, connections.
const DESCRIPTORS: u64 = 1024;

/// Disk space, memory, limits, cgroups.
pub fn checks(roots: &Roots) -> Vec<Check> {
    vec![space(&roots.app), memory(), descriptors(), cgroups()]
}

fn space(app: &Path) -> Check {
    // The app root may not be there yet: its file system is that of the directory above it.
    let existing = app
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    let free = match container_files::free_at(existing) {
        Ok(Some(free)) => free,
        Ok(None) => {
            let detail = format!(
                "the file system of {} does not tell what is free",
                existing.display()
            );
            return Check::ok("disk space", detail);
        }
        Err(_) => {
            return Check::warn(
                "disk space",
                format!("cannot look at {}", existing.display()),
                "df -h",
            );
        }
    };
    let detail = format!("{} free in {}", size::disk(free), existing.display());
    match free {
        0..NO_SPACE => Check::fail(
            "disk space",
            detail,
            "container prune; container image prune --all",
        ),
        NO_SPACE..LITTLE_SPACE => Check::warn(
            "disk space",
            detail,
            "container prune; container image prune --all",
        ),
        _ => Check::ok("disk space", detail),
    }
}

fn memory() -> Check {
    let available = container_api::memory::available().unwrap_or(0);
    let detail = format!("{} available", size::disk(available));
    if available < 512 << 20 {
        Check::warn("memory", detail, "stop containers, or add memory")
    } else {
        Check::ok("memory", detail)
    }
}

fn descriptors() -> Check {
    let limit = getrlimit(Resource::Nofile).maximum;
    match limit {
        Some(limit) if limit < DESCRIPTORS => Check::warn(
            "descriptors",
            format!("at most {limit}"),
            format!("ulimit -Hn {DESCRIPTORS}"),
        ),
        Some(limit) => Check::ok("descriptors", format!("at most {limit}")),
        None => Check::ok("descriptors", "unlimited"),
    }
}

/// For information: containers are limited inside their machines.
fn cgroups() -> Check {
    let version = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        "version 2"
    } else {
        "version 1"
    };
    Check::ok("cgroups", version)
}
