//! How long things take, against bare QEMU with the same kernel and initramfs, and against podman.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::podman::Podman;
use crate::report::Report;
use crate::samples::{Samples, divided};
use crate::system::System;
use crate::timeline::Timeline;

/// Containers at once in the concurrent measurement.
const AT_ONCE: usize = 10;

/// Starts of each kind whose phases are told of.
const TOLD: usize = 3;

// The bare VMM has no network either.
const RUN: [&str; 9] = [
    "run",
    "--rm",
    "-c",
    "1",
    "-m",
    "256M",
    "--network",
    "none",
    "--no-template",
];
/// Guest memory of [`RUN`] with its overhead, in MiB.
const BARE_MEMORY: &str = "384";

/// Measures starts at once, `list` and `exec`.
pub fn calls(system: &System, rounds: usize, report: &mut Report) {
    concurrent(system, rounds, report);
    let listed = stopped_list(system, rounds, report);
    report.keep("list", listed);
    let executed = execs(system, rounds, report);
    report.keep("exec", executed);
}

/// Measures starts one by one, against the bare VMM and podman.
pub fn starts(
    system: &System,
    bare_vm: &Path,
    rounds: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let cold_start: Vec<&str> = RUN.into_iter().chain(["busybox", "true"]).collect();
    let warm_start: Vec<&str> = cold_start
        .iter()
        .copied()
        .filter(|word| *word != "--no-template")
        .collect();
    let podman = Podman::load(system.archive());
    // The first start unpacks the image; the second asks for a template, which is made meanwhile.
    system.run(&cold_start)?;
    system.run(&warm_start)?;
    system.wait_for_templates(1)?;
    let ahead = system.with_standby()?;
    ahead.run(&warm_start)?;
    let mut samples = [(); 5].map(|()| Samples::default());
    for _ in 0..rounds {
        report.attempt("bare VM", bare(system, bare_vm), &mut samples[0]);
        report.attempt("cold start", system.time(&cold_start), &mut samples[1]);
        report.attempt(
            "start from a template",
            system.time(&warm_start),
            &mut samples[2],
        );
        if let Some(podman) = &podman {
            report.attempt("podman start", podman.start(), &mut samples[3]);
        }
        let taken = ahead
            .wait_for_standby()
            .and_then(|()| ahead.time(&warm_start));
        report.attempt("start with a standby machine", taken, &mut samples[4]);
    }
    let [bare, cold, warm, podmans, standby] = samples;
    report.figure("bare VM to its power-off", "ms", &bare);
    report.figure("run --rm busybox true, cold", "ms", &cold);
    report.figure("run --rm busybox true, from a template", "ms", &warm);
    report.figure("run --rm busybox true, standby machine", "ms", &standby);
    report.ratio("cold / bare VM", &cold.ratio(&bare), Some(1.25));
    report.ratio("template / bare VM", &warm.ratio(&bare), Some(0.4));
    report.ratio("standby / bare VM", &standby.ratio(&bare), Some(0.4));
    if podman.is_some() {
        report.figure("podman run --rm busybox true, crun", "ms", &podmans);
        report.ratio("template / podman", &warm.ratio(&podmans), None);
        report.ratio("standby / podman", &standby.ratio(&podmans), None);
    }
    timeline("cold", report, || system.debug(&cold_start));
    timeline("from a template", report, || system.debug(&warm_start));
    timeline("standby machine", report, || {
        ahead.wait_for_standby()?;
        ahead.debug(&warm_start)
    });
    Ok(())
}

/// Where the time of the start that `debug` tells of goes. These starts are not among the timed ones.
fn timeline(start: &'static str, report: &mut Report, debug: impl Fn() -> anyhow::Result<String>) {
    let mut timeline = Timeline::default();
    for _ in 0..TOLD {
        let told = debug().and_then(|text| timeline.add(&text));
        report.keep(&format!("timeline, {start}"), told);
    }
    report.timeline(start, timeline);
}

/// Milliseconds from the VMM's start to its end.
fn bare(system: &System, bare_vm: &Path) -> anyhow::Result<f64> {
    let output = Command::new("timeout")
        .args(["-k", "5", "120"])
        .arg(bare_vm)
        .args([system.kernel(), system.initramfs()])
        .args(["--rounds", "1", "--vcpus", "1", "--memory", BARE_MEMORY])
        .output()
        .context("start bare_vm")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "bare_vm: {text}{errors}");
    text.split_whitespace()
        .find_map(|word| word.parse().ok())
        .with_context(|| format!("bare_vm: {text}{errors}"))
}

fn concurrent(system: &System, rounds: usize, report: &mut Report) {
    let arguments: Vec<&str> = RUN
        .into_iter()
        .filter(|word| *word != "--no-template")
        .chain(["busybox", "true"])
        .collect();
    let mut samples = Samples::default();
    for _ in 0..rounds.div_ceil(5) {
        let times: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..AT_ONCE)
                .map(|_| scope.spawn(|| system.time(&arguments)))
                .collect();
            starts
                .into_iter()
                .map(std::thread::ScopedJoinHandle::join)
                .collect()
        });
        for taken in times {
            let taken = taken.unwrap_or_else(|_| Err(anyhow::anyhow!("a thread died")));
            report.attempt("concurrent start", taken, &mut samples);
        }
    }
    report.figure("run --rm busybox true, 10 at once", "ms", &samples);
    let spread = divided(samples.quantile(0.99), samples.median());
    report.bound("10 at once: p99 / p50", spread, 3.0);
    let failed = samples.0.iter().filter(|taken| taken.is_none()).count();
    let failed = u32::try_from(failed).ok().map(f64::from);
    report.bound("10 at once: failures", failed, 0.0);
}

fn stopped_list(system: &System, rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    for number in 0..10 {
        system.run(&[
            "create",
            "--name",
            &format!("stopped-{number}"),
            "busybox",
            "true",
        ])?;
    }
    let mut samples = Samples::default();
    for _ in 0..rounds {
        report.attempt("list", system.time(&["list", "--all"]), &mut samples);
    }
    report.figure("list --all, 10 stopped", "ms", &samples);
    report.bound("list --all, 10 stopped (ms)", samples.median(), 20.0);
    system.run(&["delete", "--all"])?;
    Ok(())
}

fn execs(system: &System, rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    system.run(&[
        "run", "-d", "--name", "exec", "-c", "1", "-m", "256M", "busybox", "sleep", "100000",
    ])?;
    let podman = Podman::load(system.archive()).filter(|podman| podman.keep_running().is_ok());
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        report.attempt("exec", system.time(&["exec", "exec", "true"]), &mut ours);
        if let Some(podman) = &podman {
            report.attempt("podman exec", podman.exec(), &mut theirs);
        }
    }
    report.figure("exec true", "ms", &ours);
    report.bound("exec true (ms)", ours.median(), 100.0);
    if podman.is_some() {
        report.figure("podman exec true, crun", "ms", &theirs);
        report.ratio("exec / podman exec", &ours.ratio(&theirs), Some(0.5));
    }
    system.run(&["delete", "--force", "exec"])?;
    Ok(())
}
