//! The `container` command, which does all the work.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::thread;

/// Why it did not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// It could not be run.
    #[error("cannot run {}", program.display())]
    Run {
        /// The command.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It said why not.
    #[error("{0}")]
    Failed(String),
    /// It said nothing that can be understood.
    #[error("`container {0}` did not answer with JSON")]
    Answer(&'static str, #[source] serde_json::Error),
}

/// The command of the installation that this plugin is of.
#[derive(Clone, Debug)]
pub struct Container {
    program: PathBuf,
}

impl Container {
    /// That beside which this plugin is installed, else what `PATH` has.
    pub fn find() -> Self {
        let own = std::env::current_exe().and_then(|path| path.canonicalize());
        let beside = own.ok().and_then(|own| above(&own));
        Self {
            program: beside.unwrap_or_else(|| "container".into()),
        }
    }

    #[cfg(test)]
    pub fn at(program: PathBuf) -> Self {
        Self { program }
    }

    /// The installation's larger kernel, which has what a node wants, if it is there.
    pub fn larger_kernel(&self) -> Option<PathBuf> {
        let prefix = self.program.parent()?.parent()?;
        let architecture = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        };
        let name = format!("share/container/kernel/vmlinux-full-{architecture}");
        Some(prefix.join(name)).filter(|kernel| kernel.is_file())
    }

    /// Its output.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn read<A: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = A>,
    ) -> Result<String, ContainerError> {
        let output = self.command(words).stdin(Stdio::null()).output();
        succeeded(&output.map_err(|source| self.not_run(source))?)
    }

    /// Its output, where `input` is what it reads.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn feed<A: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = A>,
        input: &str,
    ) -> Result<String, ContainerError> {
        let mut command = self.command(words);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| self.not_run(source))?;
        let mut stdin = child.stdin.take();
        let output = thread::scope(|scope| {
            scope.spawn(move || {
                // One that reads no further says why by its end.
                let _ = stdin
                    .take()
                    .map(|mut stdin| stdin.write_all(input.as_bytes()));
            });
            child.wait_with_output()
        });
        succeeded(&output.map_err(|source| self.not_run(source))?)
    }

    /// Its output is this process's, and what it says, too.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn show<A: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = A>,
    ) -> Result<ExitStatus, ContainerError> {
        let mut command = self.command(words);
        command.stdout(Stdio::null());
        command.status().map_err(|source| self.not_run(source))
    }

    /// The output of the first is the input of the second.
    ///
    /// # Errors
    /// When one of them fails, with what it said.
    pub fn pipe<A: AsRef<OsStr>>(
        &self,
        first: impl IntoIterator<Item = A>,
        second: impl IntoIterator<Item = A>,
    ) -> Result<String, ContainerError> {
        let failed = |source| self.not_run(source);
        let mut writer = self.command(first);
        writer.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut writer = writer.stderr(Stdio::piped()).spawn().map_err(failed)?;
        let output = writer.stdout.take();
        let mut reader = self.command(second);
        reader.stdin(output.map_or_else(Stdio::null, Stdio::from));
        let read = reader.output();
        let written = writer.wait_with_output().map_err(failed)?;
        // A writer that failed is the cause; a writer without a reader is not.
        let read = read.map_err(failed)?;
        if read.status.success() || written.stderr.is_empty() {
            return succeeded(&read);
        }
        succeeded(&written).and_then(|_| succeeded(&read))
    }

    fn command<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words);
        command
    }

    fn not_run(&self, source: io::Error) -> ContainerError {
        ContainerError::Run {
            program: self.program.clone(),
            source,
        }
    }
}

/// `bin/container` of the prefix that `own` is below.
fn above(own: &Path) -> Option<PathBuf> {
    own.ancestors()
        .skip(2)
        .map(|directory| directory.join("bin/container"))
        .find(|program| program.is_file())
}

/// What was said on standard output.
fn succeeded(output: &Output) -> Result<String, ContainerError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    let said = said.strip_prefix("Error: ").unwrap_or(said);
    if said.is_empty() {
        return Err(ContainerError::Failed(output.status.to_string()));
    }
    Err(ContainerError::Failed(said.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_the_prefix() {
        let scratch = tempfile::tempdir().unwrap();
        let program = scratch.path().join("bin/container");
        std::fs::create_dir(scratch.path().join("bin")).unwrap();
        std::fs::write(&program, "").unwrap();
        for place in ["container/plugins/container-k8s", "container-plugins/k8s"] {
            let own = scratch.path().join("libexec").join(place).join("bin/k8s");
            assert_eq!(above(&own), Some(program.clone()));
        }
        let container = Container::at(program);
        assert_eq!(container.larger_kernel(), None);
        let kernels = scratch.path().join("share/container/kernel");
        std::fs::create_dir_all(&kernels).unwrap();
        let kernel = kernels.join("vmlinux-full-amd64");
        std::fs::write(&kernel, "").unwrap();
        assert_eq!(container.larger_kernel(), Some(kernel));
    }

    #[test]
    fn what_it_said_is_the_error() {
        let shell = Container::at("/bin/sh".into());
        let line = |line: &str| shell.read(["-c", line]).map_err(|error| error.to_string());
        assert_eq!(line("echo out; echo err >&2"), Ok("out\n".to_owned()));
        assert_eq!(line("echo Error: why >&2; exit 3"), Err("why".to_owned()));
        assert_eq!(line("exit 3"), Err("exit status: 3".to_owned()));
        let fed = shell.feed(["-c", "cat; echo end"], "words ");
        assert_eq!(fed.unwrap(), "words end\n");
        let long = "x".repeat(1 << 20);
        assert_eq!(shell.feed(["-c", ":"], &long).unwrap(), "");
        let piped = |first: &str, second: &str| {
            let piped = shell.pipe(["-c", first], ["-c", second]);
            piped.map_err(|error| error.to_string())
        };
        assert_eq!(piped("echo a", "cat"), Ok("a\n".to_owned()));
        assert_eq!(
            piped("echo no image >&2; exit 1", "grep a"),
            Err("no image".to_owned())
        );
        assert_eq!(
            piped("echo a", "echo bad >&2; exit 1"),
            Err("bad".to_owned())
        );
        let absent = Container::at("/absent".into());
        let error = anyhow::Error::new(absent.read(["x"]).unwrap_err());
        assert!(format!("{error:#}").starts_with("cannot run /absent: "));
    }
}
