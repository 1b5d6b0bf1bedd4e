use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use container_files::Links;
use container_resource::log::previous;
use futures::future::try_join_all;
use jiff::Timestamp;

use crate::commands::follow::Follower;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Show what the services say
///
/// The messages of all of them in the order of their times, each with the name of its service.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container system logs --last 1h
  container system logs --follow")]
pub struct Logs {
    /// Go on until Ctrl-C
    #[arg(short, long)]
    follow: bool,

    /// How far to go back: a number and s (the default), m, h or d
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = span)]
    last: Duration,
}

/// A message of a service.
struct Line {
    at: Timestamp,
    text: String,
}

impl Logs {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let since = Timestamp::now()
            .checked_sub(self.last)
            .unwrap_or(Timestamp::MIN);
        let paths = files(&context.roots.log)?;
        let mut lines = Vec::new();
        let mut followers = Vec::new();
        for path in paths {
            let name = path
                .file_stem()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            let file = container_files::open(&path, Links::Follow)
                .with_context(|| format!("log file {}", path.display()))?;
            let end = file
                .metadata()
                .with_context(|| format!("log file {}", path.display()))?
                .len();
            // What was rotated away belongs before it; it may be gone again by now.
            if let Ok(before) = container_files::open(&previous(&path), Links::Follow) {
                recent(&before, &name, since, &mut lines).context("read the previous log")?;
            }
            recent(&file, &name, since, &mut lines)
                .with_context(|| format!("log file {}", path.display()))?;
            followers.push((
                Follower::new(file, path, end).context("read the log")?,
                name,
            ));
        }
        lines.sort_by_key(|line| line.at);
        output::write_lines(lines.iter().map(|line| &line.text))?;
        if !self.follow {
            return Ok(());
        }
        let followed = try_join_all(
            followers
                .iter_mut()
                .map(|(follower, name)| follow(follower, name)),
        );
        tokio::select! {
            followed = followed => followed.map(drop),
            () = output::reader_gone() => Err(Failure::BrokenPipe),
        }
    }
}

/// Prints what is added to a log, by whole lines.
async fn follow(follower: &mut Follower, name: &str) -> Result<(), Failure> {
    let mut begun = Vec::new();
    let print = |bytes: &[u8]| {
        begun.extend_from_slice(bytes);
        while let Some(end) = begun.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = begun.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line);
            output::write_lines([format!("{name}: {}", text.trim_end())])?;
        }
        Ok(ControlFlow::Continue(()))
    };
    follower.follow(std::future::pending(), print).await
}

/// The log files of the services.
fn files(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("directory of log files {}", directory.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    paths.sort();
    Ok(paths)
}

/// Adds the lines since then. A line without a time of its own belongs to the one before it.
fn recent(file: &File, name: &str, since: Timestamp, lines: &mut Vec<Line>) -> std::io::Result<()> {
    let mut at = Timestamp::MIN;
    let mut reader = BufReader::new(file);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes)? > 0 {
        let text = String::from_utf8_lossy(&bytes);
        let time = text
            .split_ascii_whitespace()
            .next()
            .and_then(|word| word.parse().ok());
        at = time.unwrap_or(at);
        if at >= since {
            lines.push(Line {
                at,
                text: format!("{name}: {}", text.trim_end()),
            });
        }
        bytes.clear();
    }
    Ok(())
}

fn span(text: &str) -> Result<Duration, String> {
    let invalid =
        || "invalid --last value: a number above 0 and perhaps m, h or d is expected".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(invalid()),
    };
    // Four centuries are enough, and any time minus them is one.
    let limit = 400 * 366 * 24 * 60 * 60;
    let number: u64 = digits.parse().map_err(|_| invalid())?;
    match number.checked_mul(seconds) {
        Some(seconds) if (1..=limit).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        assert_eq!(span("30"), Ok(Duration::from_secs(30)));
        assert_eq!(span("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(span("2d"), Ok(Duration::from_secs(172_800)));
        for text in ["", "0", "0m", "m", "-1", "1w", "1.5h", "99999999999999d"] {
            assert!(
                span(text).unwrap_err().starts_with("invalid --last value"),
                "{text}"
            );
        }
    }

    #[test]
    fn only_recent_lines_and_what_belongs_to_them() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a.log");
        std::fs::write(
            &path,
            "junk\n2026-01-01T00:00:00Z old\n more\n2026-01-02T00:00:00Z  INFO new\n more\n",
        )
        .unwrap();
        let mut lines = Vec::new();
        let since = "2026-01-01T12:00:00Z".parse().unwrap();
        recent(&File::open(&path).unwrap(), "a", since, &mut lines).unwrap();
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["a: 2026-01-02T00:00:00Z  INFO new", "a:  more"]);
    }
}
