//! What a container, a volume and a share cost, and when freed space is back.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::report::Report;
use crate::samples::Samples;
use crate::system::System;

const START: [&str; 6] = ["run", "--rm", "-c", "1", "-m", "256M"];
const PROCESS: [&str; 2] = ["busybox", "true"];

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

fn mounts(system: &System, rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    let shared = tempfile::tempdir()?;
    let bound = format!("{}:/share", shared.path().display());
    let (plain, volume) = (start(&[]), start(&["-v", "cost:/volume"]));
    let (cold, share) = (
        start(&["--no-template"]),
        start(&["--no-template", "-v", &bound]),
    );
    for words in [&plain, &volume, &cold, &share] {
        system.run(words)?;
    }
    system.wait_for_templates(1)?;
    let [mut plains, mut volumes, mut colds, mut shares] = [(); 4].map(|()| Samples::default());
    for _ in 0..rounds * 5 {
        report.attempt("start", system.time(&plain), &mut plains);
        report.attempt("start with a volume", system.time(&volume), &mut volumes);
        report.attempt("cold start", system.time(&cold), &mut colds);
        report.attempt("cold start with a share", system.time(&share), &mut shares);
    }
    system.run(&["volume", "delete", "cost"])?;
    report.figure("start from a template", "ms", &plains);
    report.figure("the same with a volume", "ms", &volumes);
    report.figure("cold start", "ms", &colds);
    report.figure("the same with a share", "ms", &shares);
    report.bound(
        "a volume adds (ms)",
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
