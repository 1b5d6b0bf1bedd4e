//! What things cost while they stand.

use std::fs;

use anyhow::Context;

use crate::report::Report;
use crate::samples::{Samples, divided};
use crate::system::System;

const MIB: f64 = 1024.0 * 1024.0;
/// MiB that the host must keep.
const HOST_RESERVE: f64 = 1024.0;
/// The shape of most containers below; the guest's memory is a little more, for its kernel.
const SHAPE: &str = "256M";

/// Measures the daemons, the helper, and up to `density` idle containers that stand at a time.
pub fn measure(system: &System, density: usize, report: &mut Report) -> anyhow::Result<()> {
    daemons(system, report)?;
    let stood = idle(system, density, report);
    report.keep("idle machines", stood);
    system.run(&["delete", "--all", "--force"])?;

    let host = field("/proc/meminfo", "MemTotal:")?;
    for (memory, mebibytes) in [("200M", 200.0), ("1G", 1024.0), ("4G", 4096.0)] {
        if mebibytes + HOST_RESERVE > host {
            eprintln!("no machine of {memory} is measured: the host has {host:.0} MiB");
            continue;
        }
        let name = format!("idle machine of {memory}: PSS");
        let mut samples = Samples::default();
        report.attempt(&name, flat(system, memory), &mut samples);
        report.figure(&name, "MiB", &samples);
    }
    Ok(())
}

/// The daemons and a helper. From here on every container of the shape starts from its template.
fn daemons(system: &System, report: &mut Report) -> anyhow::Result<()> {
    let helper = start(system, "first", SHAPE)?;
    system.wait_for_templates(1)?;
    let apiserver = system.pids("container-apiserver");
    let apiserver = apiserver.first().context("no apiserver")?;
    for (name, pid, limit) in [
        ("apiserver", *apiserver, 30.0),
        ("runtime helper", helper, 20.0),
    ] {
        let name = format!("{name}, resident (MiB)");
        let resident = report.keep(&name, resident(pid));
        report.bound(&name, resident, limit);
    }
    system.run(&["delete", "--force", "first"])?;
    Ok(())
}

/// Idle machines, until there are `density` of them, the host's memory ends, or one fails.
fn idle(system: &System, density: usize, report: &mut Report) -> anyhow::Result<()> {
    let mut each = Samples::default();
    let mut beside = Samples::default();
    while each.0.len() < density {
        let free = report.keep("the host's free memory", available());
        if free.is_none_or(|free| free <= HOST_RESERVE) {
            break;
        }
        let name = format!("idle-{}", each.0.len());
        let machine = start(system, &name, SHAPE).and_then(Machine::of);
        let Some(machine) = report.keep(&name, machine) else {
            break;
        };
        each.0.push(Some(machine.total()));
        beside.0.push(Some(machine.beside_guest));
    }
    let stood = each.0.len();
    let further = Samples(each.0.split_off(1.min(stood)));
    report.figure("idle machine, the first: PSS", "MiB", &each);
    report.figure("idle machine, each further one: PSS", "MiB", &further);
    report.bound(
        "further idle machine / first",
        divided(further.median(), each.median()),
        0.5,
    );
    report.figure("VMM and helper, guest memory left out: PSS", "MiB", &beside);
    report.bound(
        "VMM and helper, guest memory left out (MiB)",
        beside.quantile(0.99),
        60.0,
    );
    let standing = Samples::once(f64::from(u32::try_from(stood)?));
    report.figure("idle machines that stood at a time", "", &standing);
    Ok(())
}

/// What an idle machine of `memory` costs, started from its template.
fn flat(system: &System, memory: &str) -> anyhow::Result<f64> {
    let made = system.templates()?;
    start(system, "flat", memory)?;
    let saved = system.wait_for_templates(made + 1);
    system.run(&["delete", "--force", "flat"])?;
    saved?;
    let machine = start(system, "flat", memory).and_then(Machine::of);
    system.run(&["delete", "--force", "flat"])?;
    Ok(machine?.total())
}

/// Starts an idle container; gives the process id of its helper.
fn start(system: &System, name: &str, memory: &str) -> anyhow::Result<u32> {
    // The nested machine can make no network.
    system.run(&[
        "run",
        "-d",
        "--name",
        name,
        "--network",
        "none",
        "-c",
        "1",
        "-m",
        memory,
        "busybox",
        "sleep",
        "100000",
    ])?;
    system.helper(name).context("no helper")
}

/// Proportional set sizes in MiB.
#[derive(Debug)]
struct Machine {
    guest: f64,
    beside_guest: f64,
}

impl Machine {
    fn of(helper: u32) -> anyhow::Result<Self> {
        let children = fs::read_to_string(format!("/proc/{helper}/task/{helper}/children"))?;
        let vmm = children.split_whitespace().next().context("no VMM")?;
        let maps = fs::read_to_string(format!("/proc/{vmm}/smaps"))?;
        let guest = guest_memory(&maps)?;
        let rollup = |pid: &str| field(&format!("/proc/{pid}/smaps_rollup"), "Pss:");
        Ok(Self {
            guest,
            beside_guest: rollup(vmm)? + rollup(&helper.to_string())? - guest,
        })
    }

    fn total(&self) -> f64 {
        self.guest + self.beside_guest
    }
}

/// Bytes. No mapping of a VMM that holds data is as large but the guest's memory, of at least 200 MiB in all measured shapes.
const LARGEST_OF_VMM: u64 = 128 << 20;

/// What of a VMM's `smaps` is the guest's memory. Its file has no name there: the VMM has a root of its own.
fn guest_memory(smaps: &str) -> anyhow::Result<f64> {
    let mut inside = false;
    let mut sum = 0.0;
    for line in smaps.lines() {
        if let Some(mapping) = Mapping::parse(line) {
            inside = mapping.data && mapping.size >= LARGEST_OF_VMM;
        } else if let Some(size) = line.strip_prefix("Pss:").filter(|_| inside) {
            sum += mebibytes(size)?;
        }
    }
    Ok(sum)
}

/// The first line of a mapping in `smaps` (proc(5)).
struct Mapping {
    /// Bytes.
    size: u64,
    /// It is read and written, and no code, as TCG's translations are.
    data: bool,
}

impl Mapping {
    /// None where `line` is one of the fields below such a line.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (begin, end) = words.next()?.split_once('-')?;
        let address = |text| u64::from_str_radix(text, 16).ok();
        Some(Self {
            size: address(end)?.checked_sub(address(begin)?)?,
            data: words.next()?.starts_with("rw-"),
        })
    }
}

/// Resident set of a process in MiB.
fn resident(pid: u32) -> anyhow::Result<f64> {
    field(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// What the host could still give, in MiB.
fn available() -> anyhow::Result<f64> {
    field("/proc/meminfo", "MemAvailable:")
}

/// A field in kB of a file of procfs, in MiB.
pub fn field(path: &str, name: &str) -> anyhow::Result<f64> {
    let text = fs::read_to_string(path).with_context(|| path.to_owned())?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .with_context(|| format!("{path}: no {name}"))?;
    mebibytes(line)
}

fn mebibytes(kilobytes: &str) -> anyhow::Result<f64> {
    let number: f64 = kilobytes.trim().trim_end_matches("kB").trim().parse()?;
    Ok(number * 1024.0 / MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_memory_is_told_from_the_vmms() -> anyhow::Result<()> {
        let smaps = "55cacc8ed000-55cacccb8000 rw-p 00000000 00:00 0   [heap]\nPss:   3632 kB\n\
            7f0000000000-7f0040000000 rwxp 00000000 00:00 0\nPss:   9000 kB\n\
            7f9d1fe00000-7f9d37e00000 rw-p 00000000 00:17 84   /\nPss:   2048 kB\nPss_Dirty:   1 kB\n";
        assert!((guest_memory(smaps)? - 2.0).abs() < 0.001);
        Ok(())
    }
}
