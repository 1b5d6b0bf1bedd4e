//! smolmachines: a program with libkrun and libkrunfw beside it. Its machines are other users' processes, so `/dev/kvm` is opened to them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::Peer;
use super::commands::Program;

/// As scripts/peers.sh pins it.
pub const NAME: &str = "smolmachines 1.32.2";

/// In MiB, as it wants it.
const MEMORY: &str = "256";

struct Smolmachines {
    program: Program,
    state: String,
    archive: String,
}

/// With the image of `archive`, in the form that it reads: that of `docker save`.
pub fn load(wheels: &Path, scratch: &Path, archive: &Path) -> anyhow::Result<Box<dyn Peer>> {
    let wheel = wheels.join("smol");
    std::fs::set_permissions("/dev/kvm", Permissions::from_mode(0o666)).context("/dev/kvm")?;
    let saved = scratch.join("busybox.tar");
    let copied = Command::new("skopeo")
        // Else it is /var/tmp, which the nested machine cannot write to.
        .arg("--tmpdir")
        .arg(scratch)
        .args(["--insecure-policy", "copy", "--quiet"])
        .arg(format!("oci-archive:{}", archive.display()))
        .arg(format!("docker-archive:{}:busybox:latest", saved.display()))
        .stdin(Stdio::null())
        .status()
        .context("start skopeo")?;
    ensure!(copied.success(), "skopeo: {copied}");
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path");
    let peer = Smolmachines {
        program: Program {
            path: wheel.join("smol-vmm"),
            environment: vec![
                ("SMOLVM_LIB_DIR", wheel.clone().into()),
                ("SMOLVM_BOOT_BINARY", wheel.join("smol-vmm").into()),
                (
                    "SMOLVM_AGENT_ROOTFS_TAR",
                    wheel.join("agent-rootfs.tar.zst").into(),
                ),
            ],
        },
        state: text(&scratch.join("smolmachines"))?,
        archive: text(&saved)?,
    };
    peer.program.run(&peer.run(&[], &["true"]))?;
    Ok(Box::new(peer))
}

impl Smolmachines {
    fn run<'s>(&'s self, flags: &[&'s str], process: &[&'s str]) -> Vec<&'s str> {
        let run = [
            "machine",
            "run",
            "--state-dir",
            &self.state,
            "--cpus",
            "1",
            "--mem",
            MEMORY,
        ];
        let image = ["--image", &self.archive];
        [&run, flags, &image, &["--"], process].concat()
    }

    fn named<'s>(&'s self, what: &'s str, name: &'s str) -> Vec<&'s str> {
        vec!["machine", what, "--state-dir", &self.state, "--name", name]
    }
}

impl Peer for Smolmachines {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start(&self) -> anyhow::Result<f64> {
        self.program.time(&self.run(&[], &["true"]))
    }

    fn stand(&self, name: &str) -> anyhow::Result<()> {
        let run = self.run(&["--detach", "--name", name], &["sleep", "100000"]);
        self.program.run(&run)
    }

    fn exec(&self, name: &str) -> anyhow::Result<f64> {
        let exec = [self.named("exec", name), vec!["--", "true"]].concat();
        self.program.time(&exec)
    }

    fn remove(&self, name: &str) -> anyhow::Result<()> {
        self.program.run(&self.named("stop", name))
    }
}
