//! What the VMM may reach: nothing but itself.
//!
//! A guest that takes its VMM over finds itself in namespaces of its own: no capability, no other
//! process, no network, and a file system that holds the system's programs and libraries,
//! read-only, and nothing else. Everything that is the VM's own (disks, memory, streams) comes as
//! an open descriptor. Two seccomp filters deny the rest, new processes and programs among
//! it, from before the VMM's first instruction.
//!
//! Everything is planned before the fork; what runs after it makes system calls only.

pub(crate) mod calls;
mod landlock;
mod root;
mod seccomp;

use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit};
use rustix::thread::CapabilitiesSecureBits;
use seccompiler::BpfProgram;

use landlock::Ruleset;
use root::Root;

/// Namespaces that the VMM gets for itself.
pub(crate) const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// Id that the VMM's user and group have inside of their namespace. Any but 0 will do: then exec
/// takes the capabilities that a new user namespace gives.
const INNER_ID: u32 = 65_534;

/// Descriptors that a VMM may have open: each disk's extents, and some for itself.
const DESCRIPTORS: u64 = 4096;

/// A plan for the confinement of one process.
#[derive(Debug)]
pub(crate) struct Confinement {
    user_map: Vec<u8>,
    group_map: Vec<u8>,
    root: Root,
    filter: BpfProgram,
}

impl Confinement {
    /// Plans for `program`, which also needs the device nodes `devices`.
    pub(crate) fn plan(program: &Path, devices: &[&Path]) -> io::Result<Self> {
        let map = |id: u32| format!("{INNER_ID} {id} 1\n").into_bytes();
        Ok(Self {
            user_map: map(rustix::process::geteuid().as_raw()),
            group_map: map(rustix::process::getegid().as_raw()),
            root: Root::plan(program, devices)?,
            filter: seccomp::filter()?,
        })
    }

    /// Confines the calling process, the only one of the new [`NAMESPACES`]. Allocates nothing.
    pub(crate) fn enter(&self) -> io::Result<()> {
        write(c"/proc/self/setgroups", b"deny")?;
        write(c"/proc/self/uid_map", &self.user_map)?;
        write(c"/proc/self/gid_map", &self.group_map)?;
        self.root.enter()
    }

    /// Limits what the calling process can do and use up, in namespaces or not: no new privileges,
    /// fewer system calls, no file larger than `file_size` bytes. Allocates nothing.
    pub(crate) fn limit(&self, file_size: u64) -> io::Result<()> {
        set_limit(Resource::Core, 0)?;
        set_limit(Resource::Nofile, DESCRIPTORS)?;
        set_limit(Resource::Fsize, file_size)?;
        rustix::thread::set_no_new_privs(true)?;
        seccomp::apply(&self.filter)
    }

    /// Does without namespaces what can be done: root gives up its capabilities, and no file can be
    /// opened but the system's and those of `descriptors`. The process must have no new
    /// privileges. Allocates nothing.
    pub(crate) fn restrict(&self, descriptors: &[RawFd]) -> io::Result<()> {
        if rustix::process::geteuid().is_root() {
            let bits = CapabilitiesSecureBits::NO_ROOT | CapabilitiesSecureBits::NO_ROOT_LOCKED;
            rustix::thread::set_capabilities_secure_bits(bits)?;
        }
        let Some(ruleset) = Ruleset::new()? else {
            return Ok(());
        };
        self.root.allow(&ruleset)?;
        for descriptor in descriptors {
            // SAFETY: the parent holds the descriptors open until the child has been started.
            ruleset.allow_open(unsafe { BorrowedFd::borrow_raw(*descriptor) })?;
        }
        ruleset.enforce()
    }
}

fn set_limit(resource: Resource, value: u64) -> io::Result<()> {
    let hard = rustix::process::getrlimit(resource).maximum;
    let value = Some(hard.map_or(value, |hard| hard.min(value)));
    let limit = Rlimit {
        current: value,
        maximum: value,
    };
    Ok(rustix::process::setrlimit(resource, limit)?)
}

fn write(path: &std::ffi::CStr, text: &[u8]) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    if rustix::io::write(&file, text)? == text.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

fn c_string(path: &Path) -> io::Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::path::PathBuf;
    use std::time::Duration;

    use serde_json::json;

    use crate::qemu::qmp::QmpError;
    use crate::{Accelerator, Engine, Vm, VmSpec};

    const LIMIT: Duration = Duration::from_secs(30);

    /// A machine whose guest is of no interest: its VMM plays the villain.
    async fn machine() -> Vm {
        let directory = tempfile::tempdir().unwrap();
        let initramfs = directory.path().join("initramfs");
        std::fs::write(&initramfs, [0; 512]).unwrap();
        let kernel = std::env::var_os("CONTAINER_TEST_KERNEL").map_or_else(
            || {
                PathBuf::from(concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/../../target/kernel/vmlinux"
                ))
            },
            PathBuf::from,
        );
        let spec = VmSpec {
            kernel,
            initramfs: Some(initramfs),
            command_line: String::new(),
            vcpus: NonZeroU32::MIN,
            memory_bytes: 128 << 20,
            disks: Vec::new(),
            guest_channel: "container.guest".to_owned(),
            console: None,
            accelerator: Accelerator::Tcg,
            nested_virtualization: false,
        };
        let vm = Engine::open(directory.path())
            .await
            .unwrap()
            .start(&spec)
            .await
            .unwrap();
        vm.pause().await.unwrap();
        vm
    }

    #[tokio::test]
    async fn the_vmm_opens_no_foreign_file() {
        let vm = machine().await;
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        for path in ["/etc/passwd", own] {
            let node = json!({ "driver": "file", "node-name": "n", "filename": path,
                               "read-only": true });
            let error = vm
                .control
                .execute("blockdev-add", node, LIMIT)
                .await
                .unwrap_err();
            assert!(matches!(error, QmpError::Refused { .. }), "{error}");
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", vm.pid())).unwrap();
        for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"] {
            assert!(status.contains(line), "{line} in {status}");
        }
    }

    #[tokio::test]
    async fn the_vmm_executes_nothing() {
        let vm = machine().await;
        let uri = json!({ "uri": "exec:true" });
        let error = vm.control.execute("migrate", uri, LIMIT).await.unwrap_err();
        assert!(
            error.to_string().contains("Function not implemented"),
            "{error}"
        );
    }
}
