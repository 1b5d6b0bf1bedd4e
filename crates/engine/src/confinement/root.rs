//! A root directory with the VMM's program, its libraries and its firmware, and nothing of anybody's.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use container_isolation::mount as calls;
use rustix::fs::{CWD, Mode, OFlags};

use super::landlock::Ruleset;
use super::{c_string, mount};

/// What the root holds, in the order in which it is made. Targets have no leading slash.
#[derive(Debug, Default)]
pub(super) struct Root {
    directories: Vec<CString>,
    files: Vec<Bind>,
}

/// A file of the host that is visible inside.
#[derive(Debug)]
struct Bind {
    source: CString,
    target: CString,
}

impl Root {
    /// Plans a root with `files` at their own paths.
    pub(super) fn plan(files: &[PathBuf]) -> io::Result<Self> {
        let mut root = Self::default();
        for file in files {
            if let Some(directory) = file.parent() {
                root.directory(directory)?;
            }
            let (source, target) = (c_string(file)?, relative(file)?);
            root.files.push(Bind { source, target });
        }
        Ok(root)
    }

    /// Adds a directory with its parents.
    fn directory(&mut self, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent() else {
            return Ok(());
        };
        let path = relative(path)?;
        if !self.directories.contains(&path) {
            self.directory(parent)?;
            self.directories.push(path);
        }
        Ok(())
    }

    /// Allows what the root would hold to be read where there is no such root. Allocates nothing.
    pub(super) fn allow(&self, ruleset: &Ruleset) -> io::Result<()> {
        for file in &self.files {
            ruleset.allow_reading(&file.source)?;
        }
        Ok(())
    }

    /// Builds the root and makes it the calling process's. Allocates nothing.
    pub(super) fn enter(&self) -> io::Result<()> {
        // Whoever the program is must get through to its files, whatever the owner's mask.
        rustix::process::umask(Mode::empty());
        let root = calls::tmpfs(&[(c"size", c"64k"), (c"mode", c"755")])?;
        // Linux before 6.15 mounts nothing inside of what is not mounted itself. This is a directory
        // that every host has and that nothing below is taken from.
        calls::attach(&root, CWD, c"/proc")?;
        for directory in &self.directories {
            rustix::fs::mkdirat(&root, directory, Mode::from_raw_mode(0o755))?;
        }
        for file in &self.files {
            let tree = mount::read_only(&file.source)?;
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            drop(rustix::fs::openat(&root, &file.target, flags, Mode::RUSR)?);
            calls::attach(&tree, &root, &file.target)?;
        }
        mount::set_read_only(root.as_fd())?;
        Ok(calls::enter(&root)?)
    }
}

fn relative(path: &Path) -> io::Result<CString> {
    c_string(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_made_once_and_parents_first() {
        let files = [
            "/usr/bin/qemu",
            "/lib/a/x.so",
            "/lib/a/y.so",
            "/usr/share/q/rom",
        ];
        let root = Root::plan(&files.map(PathBuf::from)).unwrap();
        let text = |path: &CString| path.to_str().unwrap().to_owned();
        let made: Vec<_> = root.directories.iter().map(text).collect();
        assert_eq!(
            made,
            ["usr", "usr/bin", "lib", "lib/a", "usr/share", "usr/share/q"]
        );
        let held: Vec<_> = root.files.iter().map(|file| text(&file.target)).collect();
        assert_eq!(held, files.map(|path| path.trim_start_matches('/')));
    }
}
