//! How fast bytes go into a container and out of it, both at once.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::memory::field;
use crate::report::Report;
use crate::samples::Samples;
use crate::system::System;

/// Bytes of a block, whose content tells which one it is.
const BLOCK: usize = 1 << 20;
/// Blocks that are streamed: 1 GiB.
const BLOCKS: usize = 1024;

/// Streams through `exec -i ... cat`, in a container of the usual size.
pub fn measure(system: &System, rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    system.run(&[
        "run", "-d", "--name", "stream", "busybox", "sleep", "100000",
    ])?;
    let helper = system
        .helper("stream")
        .context("the container has no helper")?;
    let mut rates = Samples::default();
    for _ in 0..rounds.div_ceil(3) {
        report.attempt("stream", through(system), &mut rates);
    }
    let peak = field(&format!("/proc/{helper}/status"), "VmHWM:");
    let peak = report.keep("the helper's peak", peak);
    report.figure("1 GiB through exec -i cat, each way", "MB/s", &rates);
    report.at_least("each way at once (MB/s)", rates.median(), 100.0);
    report.bound("helper's peak meanwhile (MiB)", peak, 20.0);
    system.run(&["delete", "--force", "stream"])?;
    Ok(())
}

/// Megabytes per second that come back as they were sent.
fn through(system: &System) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut child = system
        .command(&["exec", "-i", "stream", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start container")?;
    let mut input = child.stdin.take().context("no standard input")?;
    let mut output = child.stdout.take().context("no standard output")?;
    let feeder =
        std::thread::spawn(move || (0..BLOCKS).try_for_each(|n| input.write_all(&block(n))));
    let mut received = vec![0; BLOCK];
    for number in 0..BLOCKS {
        output.read_exact(&mut received).context("read")?;
        ensure!(received == block(number), "block {number} has changed");
    }
    ensure!(output.read(&mut received)? == 0, "more came than was sent");
    ensure!(matches!(feeder.join(), Ok(Ok(()))), "the input broke");
    ensure!(child.wait()?.success(), "exec failed");
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let megabytes = (BLOCK * BLOCKS) as f64 / 1e6;
    Ok(megabytes / begun.elapsed().as_secs_f64())
}

fn block(number: usize) -> Vec<u8> {
    let mut block = vec![0xa5; BLOCK];
    for place in (0..BLOCK).step_by(4096) {
        block[place..place + 8].copy_from_slice(&(number * BLOCK + place).to_le_bytes());
    }
    block
}
