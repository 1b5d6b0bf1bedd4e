//! The peer that shares its kernel: Debian's podman with crun, its storage in a directory of its own.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::system::time;

/// Name of the image in podman's storage.
const IMAGE: &str = "docker.io/library/busybox:latest";

/// Its own defaults exceed what a process without `CAP_SYS_RESOURCE` may set.
const LIMITS: [&str; 2] = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];

/// crun refuses a hybrid of both versions of control groups: without the second one it is content.
const ONE_CGROUP_VERSION: &str = r#"
mount --make-rprivate / && umount /sys/fs/cgroup/unified 2>/dev/null
exec "$@"
"#;

/// An installed podman that works here.
#[derive(Debug)]
pub struct Podman {
    storage: tempfile::TempDir,
}

impl Podman {
    /// With the busybox image of the archive `image`; `None`, said on stderr, where podman does not work.
    pub fn load(image: &Path) -> Option<Self> {
        Self::try_load(image)
            .inspect_err(|error| eprintln!("podman is not measured: {error:#}"))
            .ok()
    }

    fn try_load(image: &Path) -> anyhow::Result<Self> {
        let podman = Self {
            storage: tempfile::tempdir()?,
        };
        let archive = format!("oci-archive:{}", image.display());
        podman.time(&["pull", "-q", &archive]).context("pull")?;
        podman.start().context("run")?;
        Ok(podman)
    }

    /// Milliseconds of `run --rm`.
    pub fn start(&self) -> anyhow::Result<f64> {
        self.run(&["--rm"], &["true"])
    }

    /// Starts the container that [`Podman::exec`] enters.
    pub fn keep_running(&self) -> anyhow::Result<()> {
        self.run(&["-d", "--name", "exec"], &["sleep", "100000"])?;
        Ok(())
    }

    /// Milliseconds of `exec`.
    pub fn exec(&self) -> anyhow::Result<f64> {
        self.time(&["exec", "exec", "true"])
    }

    /// Milliseconds of `pull`; the image is removed afterwards.
    pub fn pull(&self, name: &str) -> anyhow::Result<f64> {
        let taken = self.time(&["pull", "-q", "--tls-verify=false", name])?;
        self.time(&["rmi", name])?;
        Ok(taken)
    }

    fn run(&self, flags: &[&str], process: &[&str]) -> anyhow::Result<f64> {
        let mut arguments = vec!["run", "--network", "none"];
        arguments.extend(LIMITS);
        arguments.extend(flags.iter().chain(&[IMAGE]).chain(process));
        self.time(&arguments)
    }

    fn time(&self, arguments: &[&str]) -> anyhow::Result<f64> {
        time(&mut self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let at = |name: &str| self.storage.path().join(name);
        let mut command = Command::new("timeout");
        command
            .args(["-k", "5", "60", "unshare", "--mount"])
            .args(["sh", "-c", ONE_CGROUP_VERSION, "podman"])
            .args(["podman", "--runtime", "crun"])
            .args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"])
            .arg("--root")
            .arg(at("root"))
            .arg("--runroot")
            .arg(at("run"))
            .arg("--tmpdir")
            .arg(at("tmp"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // The storage goes with the directory; what runs must be ended first.
        let _ = self.command(&["rm", "--force", "--all"]).status();
    }
}
