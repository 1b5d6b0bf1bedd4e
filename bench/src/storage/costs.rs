//! What a container, a volume and a share cost, and when freed space is back.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::report::Report;
use crate::samples::Samples;
use crate::system::System;
use crate::timeline::Timeline;

const START: [&str; 6] = ["run", "--rm", "-c", "1", "-m", "256M"];
const PROCESS: [&str; 2] = ["busybox", "true"];

/// After a machine has been prepared.
const SETTLED: Duration = Duration::from_secs(4);

/// Measures them, `rounds` times each.
pub fn measure(system: &System, rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    creates(system, rounds, report)?;
    mounts(system, rounds, report)?;
    let back = report.keep("freed space", space(system));
    report.bound("90 % of 512 MiB deleted is back (s)", back, 60.0);
    Ok(())
}

fn creates(system: &System, rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    let (mut times, mut sizes) = (Samples::default(), Samples::default());
    for number in 0..rounds * 5 {
        let name = format!("created{number}");
        let before = system.allocated()?;
        report.attempt(
            "create",
            system.time(&["create", "--name", &name, "busybox"]),
            &mut times,
        );
        let size = system.allocated().map(|after| after - before);
        report.attempt("measure", size, &mut sizes);
    }
    for number in 0..rounds * 5 {
        system.run(&["delete", &format!("created{number}")])?;
    }
    report.figure("create of an image that is there", "ms", &times);
    report.figure("what it takes on disk", "MiB", &sizes);
    report.bound("create (ms)", times.median(), 30.0);
    report.bound("create (MiB)", sizes.median(), 1.0);
    Ok(())
}

/// What a volume adds where machines wait, which is the default, and what a share adds to a cold start.
fn mounts(system: &System, rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    let shared = tempfile::tempdir()?;
    let bound = format!("{}:/share", shared.path().display());
    let (plain, volume) = (start(&[]), start(&["-v", "cost:/volume"]));
    let (cold, share) = (
        start(&["--no-template"]),
        start(&["--no-template", "-v", &bound]),
    );
    // A machine waits for a container like the last one: each kind has a system of its own.
    let (waits, waits_with_volume) = (system.with_standby()?, system.with_standby()?);
    for (system, words) in [
        (&waits, &plain),
        (&waits_with_volume, &volume),
        (system, &plain),
        (system, &volume),
        (system, &cold),
        (system, &share),
    ] {
        system.run(words)?;
    }
    system.wait_for_templates(1)?;
    let waited = |system: &System, words: &[&str]| {
        system.wait_for_standby()?;
        // Some of the work of one that has just been prepared is left to its host.
        std::thread::sleep(SETTLED);
        Timeline::started(&system.debug(words)?)
    };
    let started = |words: &[&str]| Timeline::started(&system.debug(words)?);
    let [
        mut waiting,
        mut waiting_volume,
        mut plains,
        mut volumes,
        mut colds,
        mut shares,
    ] = [(); 6].map(|()| Samples::default());
    for _ in 0..rounds * 3 {
        let mut take = |what: &str, taken: anyhow::Result<f64>, samples: &mut Samples| {
            report.attempt(what, taken, samples);
        };
        take("start", waited(&waits, &plain), &mut waiting);
        take(
            "start with a volume",
            waited(&waits_with_volume, &volume),
            &mut waiting_volume,
        );
        take("start from a template", started(&plain), &mut plains);
        take("the same with a volume", started(&volume), &mut volumes);
        take("cold start", started(&cold), &mut colds);
        take("cold start with a share", started(&share), &mut shares);
    }
    drop((waits, waits_with_volume));
    system.run(&["volume", "delete", "cost"])?;
    report.figure("until the process runs, standby machine", "ms", &waiting);
    report.figure("the same with a volume", "ms", &waiting_volume);
    report.figure("until the process runs, from a template", "ms", &plains);
    report.figure("the same with a volume", "ms", &volumes);
    report.figure("until the process runs, cold", "ms", &colds);
    report.figure("the same with a share", "ms", &shares);
    report.bound(
        "a volume adds to a start (ms)",
        waiting_volume.difference(&waiting).median(),
        10.0,
    );
    report.bound(
        "a volume adds to a start from a template (ms)",
        volumes.difference(&plains).median(),
        10.0,
    );
    report.bound(
        "a share adds to a cold start (ms)",
        shares.difference(&colds).median(),
        60.0,
    );
    Ok(())
}

/// A start with `more` flags.
fn start<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&START[..], more, &PROCESS].concat()
}

/// Seconds until what was deleted is back.
fn space(system: &System) -> anyhow::Result<f64> {
    system.run(&[
        "run", "-d", "--name", "space", "-m", "256M", "busybox", "sleep", "100000",
    ])?;
    let before = system.allocated()?;
    let script = "i=0; while [ $i -lt 512 ]; do dd if=/dev/urandom of=/$i.x bs=1M count=1 2>/dev/null; i=$((i+1)); done; sync";
    system.run(&["exec", "space", "sh", "-c", script])?;
    let full = system.allocated()? - before;
    let begun = Instant::now();
    system.run(&[
        "exec",
        "space",
        "sh",
        "-c",
        "i=51; while [ $i -lt 512 ]; do rm /$i.x; i=$((i+1)); done; sync",
    ])?;
    // What is left, and a tenth of the rest for what the file system keeps of its own.
    let goal = full * (1.0 - 0.9 * 0.9);
    while begun.elapsed() < Duration::from_secs(180) {
        if system.allocated()? - before <= goal {
            let taken = begun.elapsed().as_secs_f64();
            system.run(&["delete", "--force", "space"])?;
            return Ok(taken);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    bail!(
        "{:.0} MiB of {full:.0} are not back",
        system.allocated()? - before
    )
}
