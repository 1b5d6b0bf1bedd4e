//! Announces the files of a context, directory by directory, in the order of their names: fsutil's receiver expects this order.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use bollard_buildkit_proto::fsutil::types::Stat;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::filter::{Above, Filter, Verdict, open_beneath};
use super::names::Names;
use super::spool::Spool;
use super::stat;
use super::{Context, ContextError};

/// Files with several names that are kept in mind. A context with more of them is sent with copies.
const MAX_LINKED: usize = 200_000;

/// A directory on the way.
struct Level {
    directory: OwnedFd,
    names: Names,
    /// With its slash; empty for the root.
    prefix: String,
    above: Above,
    /// Its own `Stat`, sent before the first of its files; `None`: it was sent already.
    untold: Option<Stat>,
}

/// Walks `context`, and gives each file that `filter` lets through to `tell`, which says whether to go on. `spool` has the paths of what was
/// told, by number.
pub fn walk(
    context: &Context,
    filter: &Filter,
    spool: &std::sync::Mutex<Spool>,
    mut tell: impl FnMut(Stat) -> bool,
) -> Result<(), ContextError> {
    let root = context.root();
    let mut linked: HashMap<(u64, u64), u64> = HashMap::new();
    let mut count = 0_u64;
    let mut levels = vec![Level {
        directory: open_beneath(root, Path::new("."), OFlags::DIRECTORY)
            .map_err(|error| ContextError::read(".", error))?,
        names: Names::read(root).map_err(|error| ContextError::read(".", error))?,
        prefix: String::new(),
        above: Above::default(),
        untold: None,
    }];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.next() else {
            levels.pop();
            continue;
        };
        let name = name.to_owned();
        let path = format!("{}{}", level.prefix, name.to_string_lossy());
        if level.prefix.is_empty() && !context.has(&path) {
            continue;
        }
        let found = match stat::look(&level.directory, &name) {
            Ok(found) => found,
            // It went away since the directory was read.
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(ContextError::read(&path, error)),
        };
        let is_directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
        let (verdict, below) = filter.verdict(&path, is_directory, &level.above);
        if verdict == Verdict::Skip {
            continue;
        }
        if name.to_str().is_none() {
            return Err(ContextError::Name(path));
        }
        let mut told = match stat::tell(&level.directory, &name, &path, &found) {
            Ok(told) => told,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(ContextError::read(&path, error)),
        };
        let mut untold = None;
        if verdict == Verdict::Send {
            if found.st_nlink > 1 && stat::has_bytes(told.mode) {
                link(
                    &mut linked,
                    &found,
                    count_with(&levels, count),
                    spool,
                    &mut told,
                )?;
            }
            for level in &mut levels {
                if let Some(directory) = level.untold.take() {
                    put(directory, spool, &mut count, &mut tell)?;
                }
            }
            put(told, spool, &mut count, &mut tell)?;
        } else {
            untold = Some(told);
        }
        if is_directory {
            // `levels` is not empty: its last one is where `path` was found.
            let parent = levels.last().map(|level| &level.directory);
            let Some(parent) = parent else { break };
            let opened = open_beneath(parent, Path::new(&name), OFlags::DIRECTORY)
                .and_then(|directory| Ok((Names::read(&directory)?, directory)));
            match opened {
                Ok((names, directory)) => levels.push(Level {
                    directory,
                    names,
                    prefix: format!("{path}/"),
                    above: below,
                    untold,
                }),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(ContextError::read(&path, error)),
            }
        }
    }
    Ok(())
}

/// The number that a file gets which is told now: its directories come first.
fn count_with(levels: &[Level], count: u64) -> u64 {
    let untold = levels.iter().filter(|level| level.untold.is_some());
    count + untold.count() as u64
}

/// Makes a link of a file that was told under another name.
fn link(
    linked: &mut HashMap<(u64, u64), u64>,
    found: &rustix::fs::Stat,
    number: u64,
    spool: &std::sync::Mutex<Spool>,
    told: &mut Stat,
) -> Result<(), ContextError> {
    let inode = (found.st_dev, found.st_ino);
    if let Some(first) = linked.get(&inode) {
        let first = lock(spool).get(*first).map_err(ContextError::Spool)?;
        told.linkname = first.unwrap_or_default();
    } else if linked.len() < MAX_LINKED {
        linked.insert(inode, number);
    }
    Ok(())
}

fn put(
    told: Stat,
    spool: &std::sync::Mutex<Spool>,
    count: &mut u64,
    tell: &mut impl FnMut(Stat) -> bool,
) -> Result<(), ContextError> {
    // Only files are asked for; the numbers count all.
    let path = if stat::has_bytes(told.mode) {
        told.path.as_str()
    } else {
        ""
    };
    lock(spool).push(path).map_err(ContextError::Spool)?;
    *count += 1;
    if tell(told) {
        Ok(())
    } else {
        Err(ContextError::Gone)
    }
}

/// A walk that panicked has left whole texts behind.
pub fn lock(spool: &std::sync::Mutex<Spool>) -> std::sync::MutexGuard<'_, Spool> {
    spool
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::filter::Wanted;
    use super::*;

    fn told(place: &Path, wanted: &Wanted) -> Vec<Stat> {
        told_of(&Context::open(place).unwrap(), wanted)
    }

    fn told_of(context: &Context, wanted: &Wanted) -> Vec<Stat> {
        let filter = Filter::new(context.root(), wanted).unwrap();
        let spool = Mutex::new(Spool::new().unwrap());
        let mut all = Vec::new();
        walk(context, &filter, &spool, |stat| {
            all.push(stat);
            true
        })
        .unwrap();
        for (number, stat) in all.iter().enumerate() {
            let path = lock(&spool).get(number as u64).unwrap().unwrap();
            let expected = if stat::has_bytes(stat.mode) {
                stat.path.as_str()
            } else {
                ""
            };
            assert_eq!(path, expected);
        }
        all
    }

    fn paths(stats: &[Stat]) -> Vec<&str> {
        stats.iter().map(|stat| stat.path.as_str()).collect()
    }

    #[test]
    fn order_links_and_directories_on_the_way() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        for name in ["a/b", "a.b", "deep/er/est", "empty"] {
            std::fs::create_dir_all(place(name)).unwrap();
        }
        for name in ["a/b/file", "a-file", "deep/er/est/wanted", "deep/other"] {
            std::fs::write(place(name), "x").unwrap();
        }
        std::fs::hard_link(place("a-file"), place("z-file")).unwrap();
        let all = told(directory.path(), &Wanted::default());
        assert_eq!(
            paths(&all),
            [
                "a",
                "a/b",
                "a/b/file",
                "a-file",
                "a.b",
                "deep",
                "deep/er",
                "deep/er/est",
                "deep/er/est/wanted",
                "deep/other",
                "empty",
                "z-file",
            ]
        );
        assert_eq!(all.last().unwrap().linkname, "a-file");
        let wanted = Wanted {
            include: vec!["**/wanted".to_owned()],
            ..Wanted::default()
        };
        let some = told(directory.path(), &wanted);
        assert_eq!(
            paths(&some),
            ["deep", "deep/er", "deep/er/est", "deep/er/est/wanted"]
        );
        let context = Context::open(directory.path()).unwrap();
        let context = context.only(vec!["a-file".to_owned(), "deep/other".to_owned()]);
        assert_eq!(paths(&told_of(&context, &Wanted::default())), ["a-file"]);
    }

    #[test]
    fn a_name_that_is_no_text_is_told() {
        use std::os::unix::ffi::OsStrExt as _;
        let directory = tempfile::tempdir().unwrap();
        let name = std::ffi::OsStr::from_bytes(b"x\xff");
        std::fs::write(directory.path().join(name), "").unwrap();
        let context = Context::open(directory.path()).unwrap();
        let spool = Mutex::new(Spool::new().unwrap());
        let filter = Filter::new(context.root(), &Wanted::default()).unwrap();
        let error = walk(&context, &filter, &spool, |_| true).unwrap_err();
        assert!(matches!(error, ContextError::Name(_)), "{error}");
    }
}
