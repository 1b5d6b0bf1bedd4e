//! The services' files: those in the directory of logs, and those of containers' helpers in their bundles.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use container_api::roots::Roots;
use container_files::Links;
use container_resource::bundle::Bundle;
use container_resource::log::previous;
use futures::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;

use crate::commands::follow::Follower;
use crate::failure::Failure;
use crate::output;

/// How often it is looked for files that were not there before.
const LOOK: Duration = Duration::from_millis(500);

/// A message of a service.
struct Line {
    at: Timestamp,
    text: String,
}

/// Shows what was said since then, and what is said from now on if `follow`.
pub async fn show(roots: &Roots, since: Timestamp, follow: bool) -> Result<(), Failure> {
    let mut known = files(roots)?;
    let mut lines = Vec::new();
    let mut followed = FuturesUnordered::new();
    for (path, name) in &known {
        let Some(file) = open(path)? else { continue };
        let end = file.metadata();
        let end = end
            .with_context(|| format!("log file {}", path.display()))?
            .len();
        // What was rotated away belongs before it; it may be gone again by now.
        if let Ok(before) = container_files::open(&previous(path), Links::Follow) {
            recent(&before, name, since, &mut lines).context("read the previous log")?;
        }
        recent(&file, name, since, &mut lines)
            .with_context(|| format!("log file {}", path.display()))?;
        if follow {
            followed.push(follow_file(file, path.clone(), name.clone(), end));
        }
    }
    lines.sort_by_key(|line| line.at);
    output::write_lines(lines.iter().map(|line| &line.text))?;
    if !follow {
        return Ok(());
    }
    let mut looks = tokio::time::interval(LOOK);
    let reader_gone = output::reader_gone();
    tokio::pin!(reader_gone);
    loop {
        tokio::select! {
            // A file that cannot be followed any more is one of a container that is gone.
            Some(ended) = followed.next() => match ended {
                Err(Failure::BrokenPipe) => return Err(Failure::BrokenPipe),
                ended => drop(ended),
            },
            // New files come in directories that come and go: there is no event for all of it.
            _ = looks.tick() => {
                let present = files(roots)?;
                for (path, name) in &present {
                    if known.contains_key(path) { continue }
                    if let Some(file) = open(path)? {
                        followed.push(follow_file(file, path.clone(), name.clone(), 0));
                    }
                }
                known = present;
            }
            () = &mut reader_gone => return Err(Failure::BrokenPipe),
        }
    }
}

/// A log, unless it is gone again.
fn open(path: &Path) -> Result<Option<File>, Failure> {
    match container_files::open(path, Links::Follow) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let error = anyhow::Error::new(error);
            Err(error.context(format!("log file {}", path.display())).into())
        }
    }
}

/// Prints what is added to a log behind `end`, by whole lines.
async fn follow_file(file: File, path: PathBuf, name: String, end: u64) -> Result<(), Failure> {
    let mut follower = Follower::new(file, path, end).context("read the log")?;
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

/// The log files, each with the name of who writes it.
fn files(roots: &Roots) -> Result<BTreeMap<PathBuf, String>, Failure> {
    let directory = &roots.log;
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("directory of log files {}", directory.display()))?;
    let services = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .map(|path| {
            let name = path.file_stem().unwrap_or_default();
            let name = name.to_string_lossy().into_owned();
            (path, name)
        });
    // A bundle without a log has not been started; no bundles are no logs.
    let bundles = std::fs::read_dir(roots.containers());
    let helpers = bundles.into_iter().flatten().flatten().filter_map(|entry| {
        let path = Bundle::new(entry.path()).runtime_log();
        path.is_file().then(|| (path, "runtime-linux".to_owned()))
    });
    Ok(services.chain(helpers).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn services_and_helpers_have_logs() {
        let scratch = tempfile::tempdir().unwrap();
        let roots = Roots::new(scratch.path().join("app"), "/p".into(), None).unwrap();
        let bundle = roots.containers().join("web");
        std::fs::create_dir_all(&bundle).unwrap();
        std::fs::create_dir_all(roots.containers().join("created")).unwrap();
        std::fs::create_dir_all(&roots.log).unwrap();
        std::fs::write(bundle.join("runtime.log"), "").unwrap();
        for name in ["core-images.log", "core-images.log.1", "notes.txt"] {
            std::fs::write(roots.log.join(name), "").unwrap();
        }
        let names: Vec<_> = files(&roots).unwrap().into_values().collect();
        assert_eq!(names, ["runtime-linux", "core-images"]);
    }
}
