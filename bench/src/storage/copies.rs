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

/// Where in the container, and what that is.
const PLACES: [(&str, &str); 2] = [("", "a container"), ("/volume", "a volume")];

/// Copies 1 GiB and 20,000 files, into the root and a volume of the container `data` and out of them.
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
    let back = scratch.path().join("back");
    for (what, source) in [("1 GiB", &large), ("20,000 files", &small)] {
        for (place, whose) in PLACES {
            between(
                system,
                source,
                place,
                &back,
                rounds,
                &format!("{what}, {whose}"),
                report,
            )?;
        }
    }
    Ok(())
}

/// Copies `source` to `place` of the container and from there to `back`, by turns with tar.
fn between(
    system: &System,
    source: &Path,
    place: &str,
    back: &Path,
    rounds: usize,
    what: &str,
    report: &mut Report,
) -> anyhow::Result<()> {
    let [mut into, mut tar_into, mut out, mut tar_out] = [(); 4].map(|()| Samples::default());
    let (copy, tar) = (format!("{place}/copy"), format!("{place}/tar"));
    let copied = format!("data:{copy}");
    let [path, back_path] = [source, back].map(Path::to_str);
    let (path, back_path) = (path.context("a path")?, back_path.context("a path")?);
    let clean = || {
        // What is written out later would be the next one's burden.
        let script = "rm -rf $0 $1; sync";
        system.run(&["exec", "data", "sh", "-c", script, &copy, &tar])
    };
    for _ in 0..rounds {
        clean()?;
        report.attempt("cp in", system.time(&["cp", path, &copied]), &mut into);
        system.run(&["exec", "data", "sync"])?;
        report.attempt("tar in", tar_in(system, source, &tar), &mut tar_into);
        system.run(&["exec", "data", "sync"])?;
        let taken = system.time(&["cp", &copied, back_path]);
        report.attempt("cp out", taken, &mut out);
        fs::remove_dir_all(back)?;
        fs::create_dir(back)?;
        report.attempt("tar out", from(system, &copy, back), &mut tar_out);
        fs::remove_dir_all(back)?;
        clean()?;
    }
    report.figure(&format!("cp in: {what}"), "ms", &into);
    report.figure(&format!("tar | exec -i tar: {what}"), "ms", &tar_into);
    report.figure(&format!("cp out: {what}"), "ms", &out);
    report.figure(&format!("exec tar | tar: {what}"), "ms", &tar_out);
    let (into, out) = (into.ratio(&tar_into), out.ratio(&tar_out));
    report.ratio(&format!("cp in / tar: {what}"), &into, Some(1.0));
    report.ratio(&format!("cp out / tar: {what}"), &out, Some(1.0));
    Ok(())
}

fn tar_in(system: &System, source: &Path, place: &str) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut tar = Command::new("tar")
        .arg("-C")
        .arg(source)
        .args(["-cf", "-", "."])
        .stdout(Stdio::piped())
        .spawn()?;
    let stream = tar.stdout.take().context("no output")?;
    let script = "mkdir $0; exec tar -C $0 -xf -";
    let taken = time(
        system
            .command(&["exec", "-i", "data", "sh", "-c", script, place])
            .stdin(stream),
    );
    ensure!(tar.wait()?.success(), "tar failed");
    taken?;
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}

fn from(system: &System, source: &str, place: &Path) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut tar = system
        .command(&["exec", "data", "tar", "-C", source, "-cf", "-", "."])
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
