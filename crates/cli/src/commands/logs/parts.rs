//! The files of one log: the current one, and the one before its last rotation.

use std::fs::File;
use std::io;
use std::path::Path;

use container_files::Links;
use container_resource::log::{self, Tail};

use crate::commands::follow::is_same;

/// Finds the last lines of a file.
pub type TailOf = fn(&File, u64) -> io::Result<Tail>;

/// A file of the log, and from where on it is wanted.
#[derive(Debug)]
pub struct Part {
    pub file: File,
    pub start: u64,
}

/// The log at `path` from its last `lines` lines on, or as a whole: the end of the previous file, where that is
/// wanted, and the current one. `None` when there is no log: the container has never been started.
pub fn open(
    path: &Path,
    lines: Option<u64>,
    tail: TailOf,
) -> io::Result<Option<(Option<Part>, Part)>> {
    let Some(mut file) = existing(path)? else {
        return Ok(None);
    };
    let mut previous = existing(&log::previous(path))?;
    if previous
        .as_ref()
        .is_some_and(|previous| is_same(previous, &file))
    {
        // Rotated between the two looks: what was opened is the previous file now. Or just about to be: it is both.
        previous = existing(path)?
            .filter(|current| !is_same(current, &file))
            .map(|current| std::mem::replace(&mut file, current));
    }
    let Some(lines) = lines else {
        let before = previous.map(|file| Part { file, start: 0 });
        return Ok(Some((before, Part { file, start: 0 })));
    };
    let current = tail(&file, lines)?;
    let before = match previous {
        Some(file) if current.lines < lines => {
            let start = tail(&file, lines - current.lines)?.start;
            Some(Part { file, start })
        }
        _ => None,
    };
    Ok(Some((
        before,
        Part {
            file,
            start: current.start,
        },
    )))
}

fn existing(path: &Path) -> io::Result<Option<File>> {
    match container_files::open(path, Links::Refuse) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_previous_file_is_read_as_far_as_it_is_wanted() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("boot.log");
        assert!(open(&path, None, log::tail_plain).unwrap().is_none());
        std::fs::write(&path, "c\nd\n").unwrap();
        let starts = |lines| {
            let (before, last) = open(&path, lines, log::tail_plain).unwrap().unwrap();
            (before.map(|part| part.start), last.start)
        };
        assert_eq!(starts(None), (None, 0));
        std::fs::write(scratch.path().join("boot.log.1"), "a\nb\n").unwrap();
        assert_eq!(starts(None), (Some(0), 0));
        assert_eq!(starts(Some(1)), (None, 2));
        assert_eq!(starts(Some(2)), (None, 0));
        assert_eq!(starts(Some(3)), (Some(2), 0));
        assert_eq!(starts(Some(9)), (Some(0), 0));
        // In the middle of a rotation both are one.
        std::fs::remove_file(scratch.path().join("boot.log.1")).unwrap();
        std::fs::hard_link(&path, scratch.path().join("boot.log.1")).unwrap();
        assert_eq!(starts(None), (None, 0));
        assert_eq!(starts(Some(9)), (None, 0));
    }
}
