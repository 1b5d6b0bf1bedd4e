//! What a machine needs and does not get: one clear error, soon, and nothing left.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::system::{System, image};

/// What every case below must stay under.
const SOON: Duration = Duration::from_secs(20);

/// Runs a container that cannot start, with `flags`: its error.
#[track_caller]
fn refused(system: &System, flags: &[&str]) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("faulty-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut arguments = vec!["run", "--rm", "--pull", "never", "--name", &name];
    arguments.extend(flags.iter().chain(&["busybox", "true"]));
    let begun = Instant::now();
    let outcome = system.run(arguments);
    assert!(begun.elapsed() < SOON, "{flags:?}: {outcome:?}");
    assert_ne!(outcome.code, 0, "{flags:?}");
    assert!(outcome.stderr.starts_with("Error: "), "{outcome:?}");
    assert!(!system.bundle(&name).exists(), "{flags:?}");
    outcome.stderr
}

#[test]
fn a_kernel_that_is_none() {
    let system = System::shared();
    let kernel = system.prefix().join("share/container/kernel/vmlinux-amd64");
    let whole = fs::read(kernel).unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = system.scratch().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let mut foreign = whole.clone();
    // e_machine of the ELF header: AArch64.
    foreign[18..20].copy_from_slice(&183_u16.to_le_bytes());
    let cases = [
        (file("header", &whole[..100]), "the kernel is truncated"),
        (
            file("half", &whole[..whole.len() / 2]),
            "the kernel is truncated",
        ),
        (
            file("text", b"no kernel\n"),
            "neither an x86-64 ELF kernel nor a bzImage",
        ),
        (
            file("nothing", b""),
            "neither an x86-64 ELF kernel nor a bzImage",
        ),
        (file("foreign", &foreign), "x86-64"),
        (system.scratch().join("absent"), "No such file"),
    ];
    for (path, expected) in cases {
        let path = path.to_str().unwrap();
        let error = refused(&system, &["--kernel", path]);
        assert!(error.contains(expected) && error.contains(path), "{error}");
    }
}

#[test]
fn a_kernel_that_panics() {
    let system = System::shared();
    let error = refused(&system, &["--kernel-arg", "rdinit=/absent"]);
    assert!(error.contains("kernel panicked"), "{error}");
}

#[test]
fn an_initramfs_that_is_missing() {
    let system = System::stopped();
    let root = system.scratch().join("install");
    fs::create_dir_all(root.join("share/container")).unwrap();
    for part in ["bin", "libexec", "share/container/kernel"] {
        symlink(system.prefix().join(part), root.join(part)).unwrap();
    }
    start(&system, "CONTAINER_INSTALL_ROOT", &root);
    let error = refused(&system, &[]);
    assert!(error.contains("the initramfs is missing"), "{error}");
}

#[test]
fn a_vmm_that_is_missing_or_too_old() {
    let programs = |system: &System| -> PathBuf {
        let directory = system.scratch().join("programs");
        fs::create_dir(&directory).unwrap();
        symlink("/usr/sbin/mke2fs", directory.join("mke2fs")).unwrap();
        directory
    };
    let system = System::stopped();
    let directory = programs(&system);
    start(&system, "PATH", &directory);
    let error = refused(&system, &[]);
    assert!(error.contains("no qemu-system-x86_64 in PATH"), "{error}");

    let vmm = directory.join("qemu-system-x86_64");
    fs::write(&vmm, "#!/bin/sh\necho QEMU emulator version 6.2.0\n").unwrap();
    fs::set_permissions(&vmm, fs::Permissions::from_mode(0o755)).unwrap();
    let error = refused(&system, &[]);
    assert!(error.contains("version 6.2; 7.2 or newer"), "{error}");
}

/// Starts `system` with one variable of its environment set.
fn start(system: &System, name: &str, value: &Path) {
    let status = system
        .command(["system", "start", "--enable-kernel-install"])
        .env(name, value)
        .status();
    assert!(status.unwrap().success());
    let archive = image();
    let archive = archive.to_str().unwrap();
    system.run(["image", "load", "-i", archive]).ok();
}
