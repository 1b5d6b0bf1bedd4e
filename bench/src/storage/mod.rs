//! Storage: volumes and shares against a bare machine with the same disk and against Debian's `virtiofsd`; what a container and its mounts
//! cost; copies; and space that comes back.

mod bare;
mod copies;
mod costs;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use self::bare::{Bare, Source};
use crate::report::Report;
use crate::samples::Samples;
use crate::system::System;

/// What is done with one large file.
const DATA: [&str; 4] = ["write", "read", "random-write", "random-read"];
/// What is done with 20,000 small ones.
const FILES: [&str; 3] = ["create", "stat", "open"];
/// Puts the files away, untimed.
const REMOVE: &str = "remove";
/// Times as long as the bare machine: 80 % of its speed.
const AS_BARE: f64 = 1.25;

/// Measures everything, `rounds` times each.
pub fn measure(system: &System, rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let load = build(scratch.path())?;
    let share = scratch.path().join("share");
    std::fs::create_dir(&share)?;
    let bound = format!("{}:/share", share.display());
    system.run(&[
        "run",
        "-d",
        "--name",
        "data",
        "-c",
        "1",
        "-m",
        "512M",
        "-v",
        "bench:/volume",
        "-v",
        &bound,
        "busybox",
        "sleep",
        "100000",
    ])?;
    let program = load.to_str().context("a path")?;
    system.run(&["cp", program, "data:/load"])?;
    let bare = Bare::new(system, &load, "data")?;
    volume(system, &bare, rounds, report)?;
    shares(system, &bare, rounds, report)?;
    copies::measure(system, rounds, report)?;
    system.run(&["delete", "--force", "data"])?;
    system.run(&["volume", "delete", "bench"])?;
    costs::measure(system, rounds, report)
}

/// The program that makes the load: one for the container and the bare machine.
fn build(directory: &Path) -> anyhow::Result<PathBuf> {
    let program = directory.join("load");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/storage/load.c");
    let built = Command::new("gcc")
        .args(["-static", "-O2", "-o"])
        .args([&program, &source])
        .status()
        .context("start gcc")?;
    ensure!(built.success(), "gcc: {built}");
    Ok(program)
}

/// A volume against its like in a bare machine.
fn volume(
    system: &System,
    bare: &Bare<'_>,
    rounds: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let empty = system.run(&["volume", "create", "like"])?;
    let disk = bare.disk(system, empty.trim())?;
    system.run(&["volume", "delete", "like"])?;
    let [mut ours, mut theirs] = [(); 2].map(|()| vec![Samples::default(); DATA.len()]);
    for _ in 0..rounds {
        let taken = inside(system, "/volume", &DATA);
        attempts("a volume", taken, &DATA, &mut ours, report);
        let taken = bare.run(Source::Disk(&disk), &DATA);
        attempts("a bare machine's disk", taken, &DATA, &mut theirs, report);
    }
    for (number, subject) in DATA.iter().enumerate() {
        let [ours, theirs] = [&ours[number], &theirs[number]];
        report.figure(&format!("volume: {subject}"), "ms", ours);
        report.figure(
            &format!("bare machine, the same disk: {subject}"),
            "ms",
            theirs,
        );
        report.ratio(
            &format!("volume / bare, {subject}"),
            &ours.ratio(theirs),
            Some(AS_BARE),
        );
    }
    Ok(())
}

/// A share against the container's own root, and against Debian's server in a bare machine.
fn shares(
    system: &System,
    bare: &Bare<'_>,
    rounds: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let all: Vec<&str> = DATA.into_iter().chain(FILES).collect();
    let debians = bare::server();
    let [mut ours, mut own, mut theirs] = [(); 3].map(|()| vec![Samples::default(); all.len()]);
    for _ in 0..rounds {
        let taken = inside(system, "/share", &all);
        attempts("a share", taken, &all, &mut ours, report);
        let taken = inside(system, "/root", &all);
        attempts("the container's root", taken, &all, &mut own, report);
        for place in ["/share", "/root"] {
            report.keep("remove files", inside(system, place, &[REMOVE]));
        }
        if let Ok(server) = &debians {
            let other = tempfile::tempdir()?;
            let source = Source::Share(server, other.path());
            let (data, files) = theirs.split_at_mut(DATA.len());
            let what = "Debian's virtiofsd";
            attempts(what, bare.run(source, &DATA), &DATA, data, report);
            // Apart: it ends with `ulimit -Hn` files, where it has no more descriptors.
            attempts(what, bare.run(source, &FILES), &FILES, files, report);
        }
    }
    for (number, subject) in all.iter().enumerate() {
        let [ours, own, theirs] = [&ours[number], &own[number], &theirs[number]];
        report.figure(&format!("share: {subject}"), "ms", ours);
        report.figure(&format!("the container's root: {subject}"), "ms", own);
        if FILES.contains(subject) {
            report.ratio(
                &format!("share / root, {subject}"),
                &ours.ratio(own),
                Some(2.0),
            );
        }
        if debians.is_ok() {
            report.figure(&format!("Debian's virtiofsd: {subject}"), "ms", theirs);
            report.ratio(
                &format!("share / Debian's, {subject}"),
                &ours.ratio(theirs),
                Some(1.0),
            );
        }
    }
    if let Err(error) = debians {
        report.left_out("Debian's virtiofsd", &error);
    }
    Ok(())
}

/// Milliseconds of each of `subjects`, done at `place` in the container.
fn inside(system: &System, place: &str, subjects: &[&str]) -> anyhow::Result<Vec<f64>> {
    let words = ["exec", "data", "/load", place];
    let told = system.run(&[&words[..], subjects].concat())?;
    times(&told, subjects)
}

/// What the program said of `subjects`.
fn times(told: &str, subjects: &[&str]) -> anyhow::Result<Vec<f64>> {
    let time = |subject: &&str| {
        let mut lines = told.lines().filter_map(|line| line.trim().split_once(' '));
        let line = lines.find(|(name, _)| name == subject);
        let (_, time) = line.with_context(|| format!("no {subject} in: {told}"))?;
        Ok(time.parse()?)
    };
    subjects.iter().map(time).collect()
}

fn attempts(
    what: &str,
    taken: anyhow::Result<Vec<f64>>,
    subjects: &[&str],
    samples: &mut [Samples],
    report: &mut Report,
) {
    let taken = report.keep(what, taken);
    for (number, samples) in samples.iter_mut().enumerate().take(subjects.len()) {
        samples.0.push(taken.as_ref().map(|taken| taken[number]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_found_by_its_name() {
        let told = "noise\r\nwrite 12.5\r\nread 3\r\n";
        assert_eq!(times(told, &["read", "write"]).unwrap(), [3.0, 12.5]);
        times("failed: open: no\n", &["read"]).unwrap_err();
    }
}
