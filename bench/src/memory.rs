//! What things cost while they stand.

use anyhow::Context;

use crate::report::Report;
use crate::samples::Samples;
use crate::system::System;

const MIB: f64 = 1024.0 * 1024.0;

/// Measures the daemons, the helper, vminitd, and one idle container after the other.
pub fn measure(system: &System, density: usize, report: &mut Report) -> anyhow::Result<()> {
    let sleeper = |name: &str, memory: &str| {
        system.run(&[
            "run", "-d", "--name", name, "-c", "1", "-m", memory, "busybox", "sleep", "100000",
        ])
    };
    sleeper("first", "256M")?;
    let apiserver = *system
        .pids("container-apiserver")
        .first()
        .context("no apiserver")?;
    report.bound("apiserver, resident (MiB)", resident(apiserver)?, 30.0);
    let helper = *system.pids("--uuid first").first().context("no helper")?;
    report.bound("runtime helper, resident (MiB)", resident(helper)?, 20.0);

    let mut each = Samples(vec![machine(helper)?]);
    for number in 1..density {
        let name = format!("idle-{number}");
        sleeper(&name, "256M")?;
        let helper = *system
            .pids(&format!("--uuid {name}"))
            .first()
            .context("no helper")?;
        each.0.push(machine(helper)?);
    }
    // Shared pages are shared out anew with every machine: look at all of them at the end.
    let mut at_end = Samples::default();
    for helper in system.pids("--uuid") {
        at_end.0.push(machine(helper)?);
    }
    report.figure(
        "idle machine when it starts: VMM and helper, PSS",
        "MiB",
        &each,
    );
    report.figure(
        "idle machines, all standing: VMM and helper, PSS",
        "MiB",
        &at_end,
    );
    system.run(&["delete", "--all", "--force"])?;

    let mut flat = Samples::default();
    for memory in ["256M", "1G", "4G"] {
        sleeper("flat", memory)?;
        let helper = *system.pids("--uuid flat").first().context("no helper")?;
        flat.0.push(machine(helper)?);
        system.run(&["delete", "--force", "flat"])?;
    }
    report.figure("idle machine of 256 MiB, 1 GiB, 4 GiB: PSS", "MiB", &flat);
    Ok(())
}

/// Resident set of a process in MiB.
fn resident(pid: u32) -> anyhow::Result<f64> {
    field(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// Proportional set of a helper and its VMM in MiB.
fn machine(helper: u32) -> anyhow::Result<f64> {
    let children = std::fs::read_to_string(format!("/proc/{helper}/task/{helper}/children"))?;
    let vmm: u32 = children
        .split_whitespace()
        .next()
        .context("no VMM")?
        .parse()?;
    Ok(proportional(helper)? + proportional(vmm)?)
}

fn proportional(pid: u32) -> anyhow::Result<f64> {
    field(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

/// A field in kB of a file of procfs, in MiB.
fn field(path: &str, name: &str) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(path).with_context(|| path.to_owned())?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .with_context(|| format!("{path}: no {name}"))?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024.0 / MIB)
}
