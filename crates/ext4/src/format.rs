//! Formats of empty disks, and how to make one.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use container_resource::container::DEFAULT_STORAGE;
use container_resource::journal::{Journal, JournalMode};
use container_resource::size::{exact, memory};

/// Changes when the options below do, so that an empty disk of another format is not used.
const REVISION: u32 = 3;

/// Options of `mke2fs(8)`. The tables and the journal are left unwritten: the guest's kernel knows what is
/// unused, and a hole reads as zeroes. With each group's tables in the group (`-G1`) fewer runs of the disk hold data, and the
/// guest's allocator looks at one group before its first write, not at 16. Nothing is kept for root, whose container it is.
const FORMAT: [&str; 7] = ["-q", "-F", "-text4", "-m0", "-G1", "-O", "^resize_inode"];
const UNWRITTEN: &str =
    "lazy_itable_init=1,lazy_journal_init=1,nodiscard,assume_storage_prezeroed=1";

/// From this size on, in bytes, block numbers have 64 bits, and group descriptors twice the size. A disk that was made smaller stays
/// smaller.
pub const WIDE: u64 = 16 << 40;
/// Bytes of a journal where nothing is said of it, on disks that have room for one; smaller ones have what `mke2fs` finds fit.
const JOURNAL: u64 = 64 << 20;
/// From this size on, in bytes, a disk has room for it.
const ROOMY: u64 = 1 << 30;

/// What an empty disk is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Format {
    /// Bytes that it seems to have.
    pub size: u64,
    /// Its journal.
    pub journal: Journal,
    /// It can be made larger. One that cannot has no spare superblocks, and takes a fifth of the room while it is empty: Linux
    /// grows no file system of that kind (`ext4_resize_begin`).
    pub growable: bool,
}

impl Default for Format {
    fn default() -> Self {
        Self {
            size: DEFAULT_STORAGE,
            journal: Journal::default(),
            growable: false,
        }
    }
}

impl Format {
    /// Different for each format, and part of a file's name.
    pub(crate) fn name(&self) -> String {
        let Self {
            size,
            journal,
            growable,
        } = self;
        let bytes = journal.size_in_bytes.unwrap_or(0);
        let kind = if *growable { "growable" } else { "fixed" };
        format!("{size}-{}-{bytes}-{kind}-{REVISION}", journal.mode.name())
    }

    /// Bytes of the journal; nothing where `mke2fs` is to choose.
    fn journal_size(&self) -> Option<u64> {
        let usual = (self.size >= ROOMY).then_some(JOURNAL);
        self.journal.size_in_bytes.or(usual)
    }
}

/// Why there is no disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A program could not be started.
    #[error("cannot run {program} (Debian package e2fsprogs)")]
    Spawn {
        /// Its name.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program failed.
    #[error("{program} failed: {reason}")]
    Format {
        /// Its name.
        program: &'static str,
        /// What it said.
        reason: String,
    },
    /// The host's file system has no such files.
    #[error(
        "a disk of {} is too large for this host's file system: a file there has at most {}", memory(*size), exact(*most)
    )]
    TooLarge {
        /// What was asked for, in bytes.
        size: u64,
        /// What there may be, in whole MiB.
        most: u64,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Makes an empty disk in the new file `path`; gives that.
///
/// # Errors
/// When it cannot be made; a part of the file may be left.
pub fn make(path: &Path, format: &Format) -> Result<File, DiskError> {
    let write = |source| DiskError::Write {
        path: path.to_path_buf(),
        source,
    };
    let file = container_files::create(path).map_err(write)?;
    file.set_len(format.size)
        .map_err(|source| match source.kind() {
            io::ErrorKind::FileTooLarge => DiskError::TooLarge {
                size: format.size,
                most: largest(&file, format.size),
                source,
            },
            _ => write(source),
        })?;
    let mut options: Vec<String> = FORMAT.map(str::to_owned).to_vec();
    let width = if format.size < WIDE {
        "^64bit"
    } else {
        "64bit"
    };
    let (spare, backups) = if format.growable {
        ("sparse_super", "")
    } else {
        ("sparse_super2", "num_backup_sb=0,")
    };
    let words = [
        "-O",
        width,
        "-O",
        spare,
        "-E",
        &format!("{backups}{UNWRITTEN}"),
    ]
    .map(str::to_owned);
    options.extend(words);
    if let Some(bytes) = format.journal_size() {
        options.push(format!("-Jsize={}", bytes >> 20));
    }
    run(
        "mke2fs",
        options.iter().map(OsStr::new).chain([path.as_os_str()]),
    )?;
    let mode = match format.journal.mode {
        JournalMode::Ordered => "journal_data_ordered",
        JournalMode::Writeback => "journal_data_writeback",
        JournalMode::Journal => "journal_data",
    };
    run(
        "tune2fs",
        [OsStr::new("-o"), OsStr::new(mode), path.as_os_str()],
    )?;
    file.sync_all().map_err(write)?;
    Ok(file)
}

/// The most bytes that `file` may have, less than `too_many`.
fn largest(file: &File, too_many: u64) -> u64 {
    let (mut fits, mut too_many) = (0, too_many >> 20);
    while too_many - fits > 1 {
        let middle = fits + (too_many - fits) / 2;
        if file.set_len(middle << 20).is_ok() {
            fits = middle;
        } else {
            too_many = middle;
        }
    }
    // It is about to be removed.
    let _ = file.set_len(0);
    fits << 20
}

fn run<'a>(
    program: &'static str,
    arguments: impl IntoIterator<Item = &'a OsStr>,
) -> Result<(), DiskError> {
    let output = Command::new(program)
        .env(
            "PATH",
            "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin",
        )
        .args(arguments)
        .output()
        .map_err(|source| DiskError::Spawn { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    let reason = if let Some(signal) = output.status.signal() {
        format!("killed by signal {signal}")
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    Err(DiskError::Format { program, reason })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use container_resource::journal;

    use super::*;

    #[test]
    fn a_disk_is_sound_and_its_journal_is_as_asked_for() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("disk");
        for (size, journal, mode) in [
            (1 << 20, "ordered", 0x40),
            // Two fifths, as much as a volume may have.
            (10 << 20, "writeback:4m", 0x60),
            (100 << 20, "ordered:40m", 0x40),
            (2 << 30, "journal:8m", 0x20),
            (512 << 30, "ordered", 0x40),
        ] {
            let journal = journal::parse(journal).unwrap();
            let growable = size > 1 << 30;
            make(
                &path,
                &Format {
                    size,
                    journal,
                    growable,
                },
            )
            .unwrap();
            let check = Command::new("/sbin/e2fsck")
                .arg("-fn")
                .arg(&path)
                .output()
                .unwrap();
            assert!(
                check.status.success(),
                "{}",
                String::from_utf8_lossy(&check.stdout)
            );
            // The superblock begins at 1024: s_feature_compat at 0x5c, s_default_mount_opts at 0x100 (ext4's ondisk format).
            let file = std::fs::File::open(&path).unwrap();
            let byte = |at: u64| {
                let mut byte = [0];
                file.read_exact_at(&mut byte, 1024 + at).unwrap();
                byte[0]
            };
            assert_eq!(byte(0x100) & 0x60, mode, "{journal}");
            assert_eq!(byte(0x5c) & 4 != 0, size > 2 << 20);
        }
    }
}
