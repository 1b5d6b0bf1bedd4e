//! The files that a VMM consists of: its program, the libraries that the dynamic loader would load, and what it opens by
//! itself as it makes its machine.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::identity::FileIdentity;

/// How long the dynamic loader may take to tell, on a busy host.
const LIMIT: Duration = Duration::from_secs(20);

/// Directories of modules, in the directory above the program's, and the start of the names that are needed: some
/// distributions have QEMU's accelerators in files of their own.
const MODULES: [&str; 3] = ["lib/x86_64-linux-gnu/qemu", "lib64/qemu", "lib/qemu"];
const MODULE: &str = "accel-";

/// Firmware of the `microvm` machine: with ACPI tables, and without.
const FIRMWARE: [&str; 2] = ["qboot.rom", "bios-microvm.bin"];
/// Where it is, in the directory above the program's.
const DATA: &str = "share/qemu";

/// What the dynamic loader is faster with.
const CACHE: &str = "/etc/ld.so.cache";

/// The files, each once, as absolute paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Libraries {
    files: Vec<PathBuf>,
    /// The loader's cache when it was asked: it is written again whenever a library comes or goes.
    cache: Option<FileIdentity>,
}

impl Libraries {
    /// Asks the dynamic loader of `program`, which does not run.
    ///
    /// # Errors
    /// When it cannot be asked, or does not answer.
    pub(crate) async fn of(program: &Path) -> io::Result<Self> {
        let mut files = BTreeSet::from([program.to_owned()]);
        files.extend(loaded_by(program).await?);
        for module in modules(prefix(program)) {
            files.extend(loaded_by(&module).await?);
            files.insert(module);
        }
        let others = FIRMWARE.map(|file| data(program).join(file));
        files.extend(others.into_iter().filter(|file| file.is_file()));
        let cache = cache();
        if cache.is_some() {
            files.insert(CACHE.into());
        }
        Ok(Self {
            files: files.into_iter().collect(),
            cache,
        })
    }

    /// Whether the loader would say the same again.
    pub(crate) fn are_current(&self) -> bool {
        self.cache == cache() && self.files.iter().all(|file| file.is_file())
    }

    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

/// Directory of the firmware that belongs to a program.
pub(crate) fn data(program: &Path) -> PathBuf {
    prefix(program).join(DATA)
}

/// As in `/opt/qemu/{bin,lib,share}`.
fn prefix(program: &Path) -> &Path {
    let prefix = program.parent().and_then(Path::parent);
    prefix.unwrap_or(Path::new("/"))
}

fn cache() -> Option<FileIdentity> {
    FileIdentity::of(Path::new(CACHE)).ok()
}

fn modules(prefix: &Path) -> Vec<PathBuf> {
    let entries = MODULES
        .iter()
        .filter_map(|directory| std::fs::read_dir(prefix.join(directory)).ok())
        .flatten()
        .filter_map(Result::ok);
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(MODULE));
    ours.map(|entry| entry.path()).collect()
}

/// What `ld.so`(8) says that it would load. The variable makes it tell instead of running the program; what is no program
/// for it, such as a script or a static one, would run, and is asked for its version.
async fn loaded_by(object: &Path) -> io::Result<Vec<PathBuf>> {
    let mut loader = if object.extension().is_some_and(|suffix| suffix == "so") {
        // A library has no loader of its own.
        let mut loader = tokio::process::Command::new("/lib64/ld-linux-x86-64.so.2");
        loader.arg("--list").arg(object);
        loader
    } else {
        let mut program = tokio::process::Command::new(object);
        program.arg("--version").env("LD_TRACE_LOADED_OBJECTS", "1");
        program
    };
    let output = loader
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT, output).await??;
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Paths in lines such as `libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f…)` and `/lib64/ld-linux-x86-64.so.2
/// (0x00007f…)`.
fn parse(list: &str) -> Vec<PathBuf> {
    list.lines()
        .filter_map(|line| {
            let line = line.split_once(" => ").map_or(line, |(_, path)| path);
            let (path, _) = line.trim().rsplit_once(" (")?;
            path.starts_with('/').then(|| path.into())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_and_nothing_else() {
        let list = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibz.so.1 => /lib/libz.so.1 (0x00007f0a)\n\
                    \tlibno.so => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f0b)\nQEMU emulator version 7\n";
        let expected = ["/lib/libz.so.1", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(parse(list), expected.map(PathBuf::from));
    }

    #[tokio::test]
    async fn a_program_is_found_with_its_loader() {
        let found = Libraries::of(Path::new("/usr/bin/env")).await.unwrap();
        let has = |name: &str| {
            let mut files = found.files().iter();
            files.any(|file| file.to_string_lossy().contains(name))
        };
        assert!(has("/usr/bin/env") && has("libc.so") && has("ld-linux"));
        assert!(found.files().len() < 10, "{found:?}");
    }
}
