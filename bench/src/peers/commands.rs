//! A peer that is a program: what it is called with.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::system::time;

/// Seconds after which a call is ended. A start that hangs is a failure of that start.
const LIMIT: &str = "240";

/// A program in its environment.
#[derive(Debug)]
pub struct Program {
    /// What is run.
    pub path: PathBuf,
    /// Its own variables.
    pub environment: Vec<(&'static str, OsString)>,
}

impl Program {
    /// Milliseconds that it takes with `arguments`.
    pub fn time(&self, arguments: &[&str]) -> anyhow::Result<f64> {
        let mut command = self.command(arguments);
        time(command.stdout(Stdio::null()).stderr(Stdio::null()))
    }

    /// Runs it with `arguments`; the error has its last words.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<()> {
        // What it leaves in the background keeps its outputs: they are a file, not a pipe.
        let said = tempfile::NamedTempFile::new()?;
        let mut command = self.command(arguments);
        let status = command
            .stdout(said.reopen()?)
            .stderr(said.reopen()?)
            .status();
        let status = status.with_context(|| self.path.display().to_string())?;
        let text = std::fs::read(said.path())?;
        let text = String::from_utf8_lossy(&text);
        let words: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let words = words[words.len().saturating_sub(3)..].join(" ");
        ensure!(
            status.success(),
            "{}: {status}: {words}",
            arguments.join(" ")
        );
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["-k", "5", LIMIT])
            .arg(&self.path)
            .args(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command
    }
}
