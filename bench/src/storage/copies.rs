//! `cp` against tar through `exec`, in both directions.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::report::Report;
use crate::samples::Samples;
use crate::system::{System, time};

const MIB: usize = 1 << 20;

/// Copies 1 GiB and 20,000 files, into the container `data` and out of it.
pub fn measure(system: &System, rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let (large, small) = (scratch.path().join("large"), scratch.path().join("small"));
    fs::create_dir_all(&large)?;
    let mut file = fs::File::create(large.join("file"))?;
    for number in 0..1024_usize {
        // No holes, no block twice.
        let block: Vec<u8> = (0..MIB / 8)
            .flat_map(|word| (number * MIB + word).to_le_bytes())
            .collect();
        file.write_all(&block)?;
    }
    for number in 0..20_000 {
        let directory = small.join((number / 200).to_string());
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(number.to_string()), [b'x'; 1024])?;
    }
    for (what, source) in [("1 GiB", &large), ("20,000 files", &small)] {
        let [mut into, mut tar_into, mut out, mut tar_out] = [(); 4].map(|()| Samples::default());
        for _ in 0..rounds {
            let path = source.to_str().context("a path")?;
            let clean = || system.run(&["exec", "data", "rm", "-rf", "/copy", "/tar"]);
            clean()?;
            report.attempt("cp in", system.time(&["cp", path, "data:/copy"]), &mut into);
            report.attempt("tar in", tar_in(system, source), &mut tar_into);
            let back = scratch.path().join("back");
            let place = back.to_str().context("a path")?;
            report.attempt(
                "cp out",
                system.time(&["cp", "data:/copy", place]),
                &mut out,
            );
            fs::remove_dir_all(&back)?;
            fs::create_dir(&back)?;
            report.attempt("tar out", from(system, &back), &mut tar_out);
            fs::remove_dir_all(&back)?;
            clean()?;
        }
        report.figure(&format!("cp {what} into a container"), "ms", &into);
        report.figure(&format!("tar | exec -i tar, {what}"), "ms", &tar_into);
        report.figure(&format!("cp {what} out of a container"), "ms", &out);
        report.figure(&format!("exec tar | tar, {what}"), "ms", &tar_out);
        report.ratio(
            &format!("cp in / tar, {what}"),
            &into.ratio(&tar_into),
            Some(1.0),
        );
        report.ratio(
            &format!("cp out / tar, {what}"),
            &out.ratio(&tar_out),
            Some(1.0),
        );
    }
    Ok(())
}

fn tar_in(system: &System, source: &Path) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut tar = Command::new("tar")
        .arg("-C")
        .arg(source)
        .args(["-cf", "-", "."])
        .stdout(Stdio::piped())
        .spawn()?;
    let stream = tar.stdout.take().context("no output")?;
    let script = "mkdir /tar; exec tar -C /tar -xf -";
    let taken = time(
        system
            .command(&["exec", "-i", "data", "sh", "-c", script])
            .stdin(stream),
    );
    ensure!(tar.wait()?.success(), "tar failed");
    taken?;
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}

fn from(system: &System, place: &Path) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut tar = system
        .command(&["exec", "data", "tar", "-C", "/copy", "-cf", "-", "."])
        .stdout(Stdio::piped())
        .spawn()?;
    let stream = tar.stdout.take().context("no output")?;
    let taken = time(
        Command::new("tar")
            .arg("-C")
            .arg(place)
            .args(["-xf", "-"])
            .stdin(stream),
    );
    ensure!(tar.wait()?.success(), "exec failed");
    taken?;
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}
