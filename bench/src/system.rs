//! The system that is measured, in an app root of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// A started system; stopped when dropped.
#[derive(Debug)]
pub struct System {
    scratch: tempfile::TempDir,
    prefix: PathBuf,
    archive: PathBuf,
}

impl System {
    /// Starts the programs of `prefix` and loads `image`. With `standby` a machine waits for the next container.
    pub fn start(prefix: &Path, image: &Path, standby: bool) -> anyhow::Result<Self> {
        let scratch = tempfile::Builder::new()
            .prefix("container-bench")
            .tempdir()?;
        let system = Self {
            scratch,
            prefix: prefix.to_owned(),
            archive: image.to_owned(),
        };
        let configuration = system.scratch.path().join("config/container");
        std::fs::create_dir_all(&configuration)?;
        let text = format!("[container]\nstandby = {standby}\n");
        std::fs::write(configuration.join("config.toml"), text)?;
        system.run(&["system", "start", "--enable-kernel-install"])?;
        let image = image.to_str().context("image path")?;
        system.run(&["image", "load", "-i", image])?;
        Ok(system)
    }

    /// The same programs and image with a machine that waits.
    pub fn with_standby(&self) -> anyhow::Result<Self> {
        Self::start(&self.prefix, &self.archive, true)
    }

    /// Waits until a machine waits.
    pub fn wait_for_standby(&self) -> anyhow::Result<()> {
        within_a_minute("a machine that waits", || {
            let listed = self.run(&["system", "template", "list", "--format", "json"])?;
            Ok(listed.contains("\"standby\":true"))
        })
    }

    /// Archive of the image that is run.
    pub fn archive(&self) -> &Path {
        &self.archive
    }

    /// `container` with `arguments`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["-k", "5", "120"])
            .arg(self.prefix.join("bin/container"))
            .args(arguments);
        command.env("CONTAINER_APP_ROOT", self.scratch.path().join("app"));
        command
            .env("XDG_RUNTIME_DIR", self.scratch.path())
            .env("XDG_CONFIG_HOME", self.scratch.path().join("config"))
            .stdin(Stdio::null());
        command
    }

    /// Runs `container` with `arguments`; gives its standard output.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.output(arguments)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `container --debug` with `arguments`; gives its standard error.
    pub fn debug(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.output(&[&["--debug"], arguments].concat())?;
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn output(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let output = self
            .command(arguments)
            .output()
            .context("start container")?;
        ensure!(
            output.status.success(),
            "container {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        Ok(output)
    }

    /// Milliseconds that `container` with `arguments` takes.
    pub fn time(&self, arguments: &[&str]) -> anyhow::Result<f64> {
        time(
            self.command(arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )
    }

    /// How many templates there are.
    pub fn templates(&self) -> anyhow::Result<usize> {
        let made = self.run(&["system", "template", "list", "-q"])?;
        Ok(made.lines().count())
    }

    /// Waits until `number` templates have been made.
    pub fn wait_for_templates(&self, number: usize) -> anyhow::Result<()> {
        within_a_minute(&format!("template {number}"), || {
            Ok(self.templates()? >= number)
        })
    }

    /// MiB that the system's state takes on the host's disk.
    pub fn allocated(&self) -> anyhow::Result<f64> {
        let output = Command::new("du")
            .args(["-s", "-B1"])
            .arg(self.scratch.path().join("app"))
            .output()
            .context("start du")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let bytes: f64 = text.split_whitespace().next().context("du")?.parse()?;
        Ok(bytes / f64::from(1 << 20))
    }

    /// Guest kernel of the prefix.
    pub fn kernel(&self) -> PathBuf {
        self.prefix.join("share/container/kernel/vmlinux-amd64")
    }

    /// Initramfs of the prefix.
    pub fn initramfs(&self) -> PathBuf {
        self.prefix.join("share/container/initramfs-amd64.cpio")
    }

    /// Process ids whose command line names this system and holds `text`.
    pub fn pids(&self, text: &str) -> Vec<u32> {
        let mark = self.scratch.path().to_string_lossy().into_owned();
        let mut pids = Vec::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(&mark) && line.contains(text) && pid != std::process::id() {
                pids.push(pid);
            }
        }
        pids
    }

    /// Process id of the helper of the container `id`, which is its name, too.
    pub fn helper(&self, id: &str) -> Option<u32> {
        let mut helpers = self.pids("container-runtime-linux").into_iter();
        helpers.find(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim_end() == id)
        })
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if let Err(error) = self.run(&["system", "stop"]) {
            eprintln!("{error:#}");
        }
    }
}

/// Waits until `condition` holds for `what`.
fn within_a_minute(what: &str, condition: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    for _ in 0..600 {
        if condition()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("{what} was not there within a minute")
}

/// Milliseconds that `command` takes; an error if it fails.
pub fn time(command: &mut Command) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let status = command.status().context("start the command")?;
    let taken = begun.elapsed().as_secs_f64() * 1000.0;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(taken)
}
