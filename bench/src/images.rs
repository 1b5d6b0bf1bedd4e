//! Images: from a registry to a root that a container can use, against skopeo with umoci and against podman; and
//! how fast a guest reads them, against ext4.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::memory::field;
use crate::podman::Podman;
use crate::registry::{Registry, run};
use crate::report::Report;
use crate::samples::Samples;
use crate::system::System;

const LAYERS: u32 = 8;

/// Measures pulls and reads, `rounds` times each.
pub fn measure(system: &System, rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    let registry = Registry::start()?;
    registry.publish("whole", None, 0..LAYERS)?;
    registry.publish("sibling", None, (0..LAYERS - 1).chain([LAYERS]))?;
    registry.publish("single", None, [LAYERS])?;
    pulls(system, &registry, rounds, report);
    sharing(system, &registry, rounds, report);
    reads(system, &registry, rounds, report)
}

fn pulls(system: &System, registry: &Registry, rounds: usize, report: &mut Report) {
    let name = registry.name("whole");
    let podman = Podman::load(system.archive());
    let [mut ours, mut theirs, mut podmans] = [(); 3].map(|()| Samples::default());
    let mut peak = 0.0_f64;
    for _ in 0..rounds {
        let (taken, resident) = watched(|| pull(system, &name));
        report.attempt("pull", taken, &mut ours);
        peak = peak.max(resident);
        let forgotten = report.keep("remove images", forget(system));
        let taken = skopeo_and_umoci(&name);
        report.attempt("skopeo and umoci", taken, &mut theirs);
        if let Some(podman) = &podman {
            report.attempt("podman pull", podman.pull(&name), &mut podmans);
        }
        // What is left of a round would shorten the next one's pull.
        if forgotten.is_none() {
            break;
        }
    }
    report.figure("pull 300 MB, 8 layers, and create", "ms", &ours);
    report.figure("skopeo copy and umoci unpack", "ms", &theirs);
    report.ratio("pull / skopeo and umoci", &ours.ratio(&theirs), Some(0.67));
    if podman.is_some() {
        report.figure("podman pull", "ms", &podmans);
        report.ratio("pull / podman pull", &ours.ratio(&podmans), Some(1.0));
    }
    // 0: no worker was seen.
    let peak = (peak > 0.0).then_some(peak);
    report.bound("unpacking a layer, peak resident (MiB)", peak, 64.0);
}

fn sharing(system: &System, registry: &Registry, rounds: usize, report: &mut Report) {
    let (mut sibling, mut single) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        let alone = pull(system, &registry.name("single"));
        report.attempt("pull the eighth layer", alone, &mut single);
        let shared = forget(system)
            .and_then(|()| pull(system, &registry.name("whole")))
            .and_then(|_| pull(system, &registry.name("sibling")));
        report.attempt("pull a sibling", shared, &mut sibling);
        // As in the pulls.
        if report.keep("remove images", forget(system)).is_none() {
            break;
        }
    }
    report.figure("pull an image of which 7 layers are there", "ms", &sibling);
    report.figure("pull its eighth layer alone", "ms", &single);
    report.ratio(
        "7 of 8 shared / the eighth alone",
        &sibling.ratio(&single),
        Some(1.5),
    );
}

/// The same files from the image (EROFS) and from the writable layer (ext4), each after a fresh boot.
fn reads(
    system: &System,
    registry: &Registry,
    rounds: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let name = registry.name("tools");
    registry.publish("tools", Some(system.archive()), 0..LAYERS / 2)?;
    system.run(&[
        "run", "-d", "--name", "read", "-c", "1", "-m", "1G", &name, "sleep", "100000",
    ])?;
    system.run(&["exec", "read", "cp", "-a", "/data", "/copy"])?;
    let read = |path: &str| -> anyhow::Result<f64> {
        system.run(&["restart", "read"])?;
        let script = format!("find {path} -type f -exec cat {{}} + >/dev/null");
        system.time(&["exec", "read", "sh", "-c", &script])
    };
    let (mut erofs, mut ext4) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        report.attempt("read from EROFS", read("/data"), &mut erofs);
        report.attempt("read from ext4", read("/copy"), &mut ext4);
    }
    report.figure("read 264 MiB of an image in a guest (EROFS)", "ms", &erofs);
    report.figure("read the same from the writable layer (ext4)", "ms", &ext4);
    report.ratio("EROFS / ext4", &erofs.ratio(&ext4), Some(1.0));
    system.run(&["delete", "--force", "read"])?;
    forget(system)
}

/// Milliseconds until a container of the image could start.
fn pull(system: &System, name: &str) -> anyhow::Result<f64> {
    let pulled = system.time(&["image", "pull", "--progress", "none", name])?;
    let created = system.time(&["create", "--name", "pulled", name, "true"])?;
    system.run(&["delete", "pulled"])?;
    Ok(pulled + created)
}

/// Removes every image but busybox, with its layers.
fn forget(system: &System) -> anyhow::Result<()> {
    let images = system.run(&["image", "list", "-q"])?;
    for image in images.lines().filter(|image| image.contains("127.0.0.1")) {
        system.run(&["image", "delete", image])?;
    }
    system.run(&["image", "prune"])?;
    Ok(())
}

fn skopeo_and_umoci(name: &str) -> anyhow::Result<f64> {
    let scratch = tempfile::tempdir()?;
    let layout = format!("{}:1", scratch.path().join("layout").display());
    let begun = Instant::now();
    run(Command::new("skopeo")
        .args(["copy", "--insecure-policy", "--src-tls-verify=false"])
        .arg(format!("docker://{name}"))
        .arg(format!("oci:{layout}")))?;
    run(Command::new("umoci")
        .args(["unpack", "--image", &layout])
        .arg(scratch.path().join("bundle")))?;
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}

/// Runs `work`; gives also the largest resident set, in MiB, of a process that unpacked a layer meanwhile.
fn watched<T: Send>(work: impl FnOnce() -> T + Send) -> (T, f64) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut peak = 0.0_f64;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(largest_worker().unwrap_or(0.0));
                std::thread::sleep(Duration::from_millis(20));
            }
            peak
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        (result, watcher.join().unwrap_or(f64::NAN))
    })
}

fn largest_worker() -> anyhow::Result<f64> {
    let mut peak = 0.0_f64;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let process = entry.path();
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains("unpack-layer") {
            let status = process.join("status");
            // It may have ended meanwhile.
            peak = peak.max(field(&status.to_string_lossy(), "VmHWM:").unwrap_or(0.0));
        }
    }
    Ok(peak)
}
