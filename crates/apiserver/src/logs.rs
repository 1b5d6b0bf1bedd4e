//! The services' log files, kept from filling the disk while the services run.
//!
//! Each program writes to a descriptor that it was started with, so a file cannot be put in the place of another: it is copied to
//! `<name>.log.1` and made empty. What is written between the two is lost, which is better than a full disk; so is all of it where there is
//! no room for the copy.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use container_files::LOG_LIMIT;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(60);

/// Rotates the logs in `directory` when they have grown, for ever.
pub async fn rotate(directory: PathBuf) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let directory = directory.clone();
        // A panic there has said what it was.
        let _ = tokio::task::spawn_blocking(move || rotate_once(&directory)).await;
    }
}

fn rotate_once(directory: &Path) {
    // Without the directory there is nothing to rotate.
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let logs = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    for path in logs {
        if let Err(error) = rotate_file(&path) {
            tracing::warn!("cannot rotate {}: {error:#}", path.display());
        }
    }
}

fn rotate_file(path: &Path) -> io::Result<()> {
    let file = container_files::append(path)?;
    if file.metadata()?.len() <= LOG_LIMIT {
        return Ok(());
    }
    let beside = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let (temporary, previous) = (beside(".1.tmp"), beside(".1"));
    let kept = copy(path, &temporary).and_then(|()| std::fs::rename(&temporary, &previous));
    if kept.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
    }
    file.set_len(0)?;
    kept
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut copy = container_files::create(to)?;
    let mut log = container_files::open(from, container_files::Links::Refuse)?;
    io::copy(&mut log, &mut copy)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_log_that_has_grown_becomes_the_previous_one_and_its_writer_goes_on() {
        let scratch = tempfile::tempdir().unwrap();
        let (grown, small) = (scratch.path().join("a.log"), scratch.path().join("b.log"));
        let mut writer = container_files::append(&grown).unwrap();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..5 {
            writer.write_all(&line).unwrap();
        }
        std::fs::write(&small, "b").unwrap();
        rotate_once(scratch.path());
        writer.write_all(b"after").unwrap();
        assert_eq!(std::fs::read(&grown).unwrap(), b"after");
        let previous = std::fs::metadata(scratch.path().join("a.log.1")).unwrap();
        assert_eq!(previous.len(), 5 << 20);
        assert_eq!(std::fs::read(&small).unwrap(), b"b");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_log_that_cannot_be_kept_is_made_empty_all_the_same() {
        let scratch = tempfile::tempdir().unwrap();
        let log = scratch.path().join("a.log");
        std::fs::write(&log, vec![b'x'; 5 << 20]).unwrap();
        // Nothing takes the place of a directory.
        std::fs::create_dir(scratch.path().join("a.log.1")).unwrap();
        rotate_once(scratch.path());
        assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 2);
    }
}
