//! The files of the installation and the tools it runs.

use std::path::Path;

use container_api::roots::Roots;
use container_resource::check::Check;

/// Where Debian keeps the tools of an administrator, which may not be in a user's `PATH`.
const TOOL_DIRECTORIES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// Guest kernel, initramfs, mke2fs.
pub fn checks(roots: &Roots) -> Vec<Check> {
    let mut checks = Vec::new();
    let link = roots.default_kernel();
    checks.push(match link.canonicalize() {
        Ok(kernel) => Check::ok("kernel", kernel.display().to_string()),
        Err(_) => Check::fail(
            "kernel",
            format!("no default kernel: {}", link.display()),
            "container system start --enable-kernel-install",
        ),
    });
    let initramfs = roots.initramfs();
    checks.push(if initramfs.is_file() {
        Check::ok("initramfs", initramfs.display().to_string())
    } else {
        Check::fail(
            "initramfs",
            format!("not found: {}", initramfs.display()),
            "make install",
        )
    });
    let mke2fs = TOOL_DIRECTORIES
        .iter()
        .map(|directory| Path::new(directory).join("mke2fs"))
        .find(|path| path.exists());
    checks.push(match mke2fs {
        Some(path) => Check::ok("mke2fs", path.display().to_string()),
        None => Check::fail("mke2fs", "not found", "apt-get install e2fsprogs"),
    });
    checks
}
