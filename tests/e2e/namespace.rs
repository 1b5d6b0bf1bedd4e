//! Network namespaces of a test's own: hosts, and what is around them.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A network namespace with its loopback interface up. Deleted when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one.
    pub fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("container-e2e-{}-{number}", std::process::id());
        ip(&["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// What makes `nsenter` enter it.
    pub fn flag(&self) -> String {
        format!("--net=/run/netns/{}", self.name)
    }

    /// `ip` in it, with the words of `line`.
    pub fn ip(&self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        ip(&[&["-n", &self.name], &words[..]].concat());
    }

    /// A program in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(self.flag()).arg(program);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.name]);
    }
}

#[track_caller]
fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
}
