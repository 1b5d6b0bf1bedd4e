//! boxlite: a library of Python, with libkrun inside. It is driven by a program that stays, so that Python's own start is not measured.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, bail, ensure};

use super::Peer;

/// As scripts/peers.sh pins it.
pub const NAME: &str = "boxlite 0.10.8, jailer off";

const DRIVER: &str = include_str!("boxlite.py");

/// The program, and how it is spoken to. It does one thing at a time.
struct Boxlite(Mutex<Driver>);

struct Driver {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// With the image of `archive`, which it wants unpacked.
pub fn load(wheels: &Path, scratch: &Path, archive: &Path) -> anyhow::Result<Box<dyn Peer>> {
    let layout = scratch.join("layout");
    std::fs::create_dir(&layout)?;
    let unpacked = Command::new("tar")
        .arg("-C")
        .arg(&layout)
        .arg("-xf")
        .arg(archive)
        .status()?;
    ensure!(unpacked.success(), "unpack the image: {unpacked}");
    let mut child = Command::new("timeout")
        .args(["-k", "5", "1800", "python3", "-c", DRIVER])
        .args([wheels, &layout])
        .env("BOXLITE_HOME", scratch.join("boxlite"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("start python3")?;
    let requests = child.stdin.take().context("no input")?;
    let answers = child.stdout.take().context("no output")?;
    Ok(Box::new(Boxlite(Mutex::new(Driver {
        child,
        requests,
        answers: BufReader::new(answers),
    }))))
}

impl Driver {
    /// What is said to `request`.
    fn ask(&mut self, request: &str) -> anyhow::Result<String> {
        writeln!(self.requests, "{request}").context("ask")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).context("answer")?;
        match answer.trim().split_once("done") {
            Some(("", words)) => Ok(words.trim().to_owned()),
            _ if answer.is_empty() => bail!("its driver ended"),
            _ => bail!("{}", answer.trim()),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It ends when nobody asks any more; one that hangs does not keep the benchmark.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Boxlite {
    fn speak(&self, request: &str) -> anyhow::Result<String> {
        let mut driver = self
            .0
            .lock()
            .map_err(|_| anyhow::anyhow!("a thread died"))?;
        driver.ask(request)
    }

    /// Milliseconds of `request`.
    fn ask(&self, request: &str) -> anyhow::Result<f64> {
        let begun = Instant::now();
        self.speak(request)?;
        Ok(begun.elapsed().as_secs_f64() * 1000.0)
    }
}

impl Peer for Boxlite {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start(&self) -> anyhow::Result<f64> {
        self.ask("start")
    }

    fn start_many(&self, number: usize) -> Vec<anyhow::Result<f64>> {
        let answer = self.speak(&format!("many {number}"));
        let times = answer.and_then(|answer| {
            let words = answer.split_whitespace().map(str::parse);
            Ok(words.collect::<Result<Vec<f64>, _>>()?)
        });
        match times {
            Ok(times) => times.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        }
    }

    fn stand(&self, name: &str) -> anyhow::Result<()> {
        self.ask(&format!("stand {name}")).map(drop)
    }

    fn exec(&self, name: &str) -> anyhow::Result<f64> {
        self.ask(&format!("exec {name}"))
    }

    fn remove(&self, name: &str) -> anyhow::Result<()> {
        self.ask(&format!("remove {name}")).map(drop)
    }
}
