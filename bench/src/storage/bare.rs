//! A bare machine: QEMU by hand, with the guest kernel of the prefix and the load as its first process. Under TCG, as the figures are
//! given.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};

use super::times;
use crate::system::System;

/// Where Debian has its server: of QEMU 7.2, and of its own package.
const SERVERS: [&str; 2] = ["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"];

/// What the container's machine has in all, with `-m 512M`.
const MEMORY: &str = "640M";

/// What the load works on.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A disk with ext4.
    Disk(&'a Path),
    /// A directory, served by the program.
    Share(&'a Path, &'a Path),
}

/// How to start one.
#[derive(Debug)]
pub struct Bare<'a> {
    system: &'a System,
    scratch: tempfile::TempDir,
    clock: String,
}

/// Debian's server of shares.
pub fn server() -> anyhow::Result<PathBuf> {
    let mut servers = SERVERS.iter().map(PathBuf::from);
    servers
        .find(|path| path.exists())
        .context("there is none: it comes with qemu-system-common or virtiofsd")
}

impl<'a> Bare<'a> {
    /// With the program `load`, and the clock of the container `like`, which runs: without it the kernel counts ticks, of which a busy host loses
    /// some.
    pub fn new(system: &'a System, load: &Path, like: &str) -> anyhow::Result<Self> {
        let told = system.run(&["exec", like, "cat", "/proc/cmdline"])?;
        let is_clock = |word: &&str| {
            let names = ["tsc_early_khz=", "lapic_timer_khz=", "no_timer_check"];
            names.iter().any(|name| word.starts_with(name))
        };
        let clock = told.split_whitespace().filter(is_clock);
        let clock = clock.collect::<Vec<_>>().join(" ");
        let scratch = tempfile::tempdir()?;
        let root = scratch.path().join("root");
        std::fs::create_dir_all(root.join("dev"))?;
        std::fs::copy(load, root.join("load"))?;
        let packed = Command::new("sh")
            .args(["-ec", "find . | cpio --quiet -o -H newc > ../initramfs"])
            .current_dir(&root)
            .status()?;
        ensure!(packed.success(), "cpio: {packed}");
        Ok(Self {
            system,
            scratch,
            clock,
        })
    }

    /// A copy of the disk of `volume`.
    pub fn disk(&self, system: &System, volume: &str) -> anyhow::Result<PathBuf> {
        let told: serde_json::Value =
            serde_json::from_str(&system.run(&["volume", "inspect", volume])?)?;
        let source = told[0]["configuration"]["source"]
            .as_str()
            .context("a volume's disk")?;
        let copy = self.scratch.path().join("disk");
        let copied = Command::new("cp")
            .args(["--sparse=always", source])
            .arg(&copy)
            .status()?;
        ensure!(copied.success(), "cp: {copied}");
        Ok(copy)
    }

    /// Milliseconds of each of `subjects`.
    pub fn run(&self, source: Source<'_>, subjects: &[&str]) -> anyhow::Result<Vec<f64>> {
        let socket = self.scratch.path().join("share.sock");
        let (mount, devices, server) = match source {
            Source::Disk(disk) => {
                let drive = format!(
                    "if=none,id=it,file={},format=raw,discard=unmap",
                    disk.display()
                );
                let device = "virtio-blk-device,drive=it".to_owned();
                (
                    "/dev/vda ext4",
                    ["-drive".to_owned(), drive, "-device".to_owned(), device],
                    None,
                )
            }
            Source::Share(program, directory) => {
                let server = serve(program, directory, &socket)?;
                let path = format!("socket,id=it,path={}", socket.display());
                let device = "vhost-user-fs-device,chardev=it,tag=it,queue-size=1024".to_owned();
                (
                    "it virtiofs",
                    ["-chardev".to_owned(), path, "-device".to_owned(), device],
                    Some(server),
                )
            }
        };
        // Behind `--` the kernel would not look at what QEMU appends: where the devices are.
        let line = format!(
            "console=hvc0 reboot=t panic=-1 quiet tsc=reliable {} rdinit=/load bare {mount} {}",
            self.clock,
            subjects.join(" ")
        );
        let memory = format!("memory-backend-memfd,id=memory,size={MEMORY},share=on");
        let output = Command::new("timeout")
            .args(["-k", "5", "600", "qemu-system-x86_64", "-nodefaults", "-no-user-config"])
            .args(["-no-reboot", "-display", "none", "-smp", "1", "-m", MEMORY])
            .args(["-accel",
                "tcg,thread=multi", "-cpu", "max"])
            .args(["-machine", "microvm,acpi=off,isa-serial=off,x-option-roms=off,pit=on,pic=on,rtc=on,memory-backend=memory"])
            .args(["-global", "virtio-mmio.force-legacy=false", "-object", &memory])
            .arg("-kernel")
            .arg(self.system.kernel())
            .arg("-initrd")
            .arg(self.scratch.path().join("initramfs"))
            .args(["-append", &line, "-device", "virtio-serial-device"])
            .args(["-chardev", "stdio,id=console", "-device", "virtconsole,chardev=console"])
            .args(devices)
            .stdin(Stdio::null())
            .output()
            .context("start QEMU")?;
        // It ends with its machine.
        if let Some(mut server) = server {
            server.kill()?;
            server.wait()?;
        }
        let told = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "QEMU: {told}{errors}");
        times(&told, subjects)
    }
}

fn serve(program: &Path, directory: &Path, socket: &Path) -> anyhow::Result<Child> {
    let _ = std::fs::remove_file(socket);
    let mut server = Command::new(program);
    server.arg(format!("--socket-path={}", socket.display()));
    if program.starts_with("/usr/lib/qemu") {
        server
            .arg("-f")
            .arg("-o")
            .arg(format!("source={},cache=auto,xattr", directory.display()));
    } else {
        server
            .arg(format!("--shared-dir={}", directory.display()))
            .arg("--xattr");
    }
    let mut server = server
        .stderr(Stdio::null())
        .spawn()
        .context("start virtiofsd")?;
    for _ in 0..500 {
        if socket.exists() {
            return Ok(server);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    server.kill()?;
    server.wait()?;
    anyhow::bail!("virtiofsd does not listen")
}
