//! The host: what machines and networks need.

use std::path::Path;

use container_api::roots::Roots;
use container_resource::check::Check;
use container_resource::size;
use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;

/// Less room than this stops a pull or a build half-way, in bytes.
const LITTLE_SPACE: u64 = 2 << 30;
/// Less room than this does not hold a container's writable layer, in bytes.
const NO_SPACE: u64 = 64 << 20;
/// Descriptors of a busy helper: disks, streams, connections.
const DESCRIPTORS: u64 = 1024;

/// Disk space, memory, limits, tun, nftables, cgroups.
pub fn checks(roots: &Roots) -> Vec<Check> {
    vec![
        space(&roots.app),
        memory(),
        descriptors(),
        tun(),
        nftables(),
        uplink(),
        cgroups(),
    ]
}

fn space(app: &Path) -> Check {
    // The app root may not be there yet: its file system is that of the directory above it.
    let existing = app
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    let Ok(found) = rustix::fs::statvfs(existing) else {
        return Check::warn(
            "disk space",
            format!("cannot look at {}", existing.display()),
            "df -h",
        );
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
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

fn tun() -> Check {
    match std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
    {
        Ok(_) => Check::ok("tun", "/dev/net/tun opens"),
        Err(error) => Check::warn("tun", format!("/dev/net/tun: {error}"), "modprobe tun"),
    }
}

fn nftables() -> Check {
    let found = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    match found {
        Some(path) => Check::ok("nftables", path),
        None => Check::warn(
            "nftables",
            "nft is not installed",
            "apt-get install nftables",
        ),
    }
}

/// How packets leave networks.
fn uplink() -> Check {
    const NEEDED: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::SYS_ADMIN);
    let may_administer =
        rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(NEEDED));
    if may_administer {
        return Check::ok("uplink", "a pair of interfaces, and the host's address");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path)
        .map(|directory| directory.join("pasta"))
        .find(|path| path.exists())
    {
        Some(path) => Check::ok("uplink", path.display().to_string()),
        None => Check::warn(
            "uplink",
            "pasta, which connects an ordinary user's networks, is not installed",
            "apt-get install passt",
        ),
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
