//! Where the figures were measured.

use std::process::Command;

use serde_json::{Value, json};

use crate::system::System;

/// Host, kernel, VMM and revision.
pub fn manifest(system: &System) -> Value {
    let line = |path: &str, key: &str| {
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .map(|rest| rest.trim_matches([':', ' ', '\t']).to_owned())
    };
    let output = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .next()
            .map(str::to_owned)
    };
    json!({
        "cpu": line("/proc/cpuinfo", "model name"),
        "cpus": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "memory": line("/proc/meminfo", "MemTotal"),
        "host kernel": output("uname", &["-r"]),
        "load before": std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
        "vmm": output("qemu-system-x86_64", &["--version"]),
        "podman": output("podman", &["--version"]),
        "crun": output("crun", &["--version"]),
        "revision": output("git", &["rev-parse", "--short", "HEAD"]),
        "container": system.run(&["--version"]).unwrap_or_default().trim(),
    })
}
