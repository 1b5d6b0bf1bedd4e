//! Directories and files of the host in a container.

mod between;
mod changes;
mod closing;
mod escapes;
mod files;
mod owners;
mod places;
mod process;
mod refused;

use std::fs;
use std::path::{Path, PathBuf};

use crate::system::{Outcome, System};

/// Runs a container of `busybox` with `flags`, which says `ready` and waits.
fn start(system: &System, id: &str, flags: &[&str]) -> Outcome {
    let words = ["run", "-d", "--name", id, "-m", "256M", "-c", "1"];
    let process = ["busybox", "sh", "-c", "echo ready; exec sleep 100000"];
    system.run(words.iter().chain(flags).chain(&process))
}

fn exec(system: &System, id: &str, script: &str) -> Outcome {
    system.run(["exec", id, "sh", "-c", script])
}

/// What `script` prints in the container `id`.
#[track_caller]
fn told(system: &System, id: &str, script: &str) -> String {
    exec(system, id, script).ok().stdout
}

/// An empty directory of the host; its name would be cut by who splits at spaces or `=`.
fn directory(system: &System, name: &str) -> PathBuf {
    let path = system.scratch().join("host = dir").join(name);
    fs::create_dir_all(&path).unwrap();
    path
}

fn bind(path: &Path, target: &str) -> String {
    format!("{}:{target}", path.display())
}

/// Processes of a helper: who serves the shares of `id`, outside and inside its namespaces.
fn servers(system: &System, id: &str) -> Vec<u32> {
    let bundle = system.bundle(id);
    let mark = format!(
        "container-share-virtiofs serve --bundle {}",
        bundle.display()
    );
    let mut found = system.pids(&mark);
    let is_inner = |pid: &u32| {
        status(*pid, "PPid").is_some_and(|parent| found.iter().any(|pid| pid.to_string() == parent))
    };
    let inner: Vec<u32> = found.iter().copied().filter(is_inner).collect();
    found.sort_by_key(|pid| inner.contains(pid));
    found
}

/// A field of `/proc/<pid>/status`.
fn status(pid: u32, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}
