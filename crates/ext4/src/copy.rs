//! A copy of a disk.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use container_files::Links;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// Bytes that are copied between two looks at whether to stop, and two at how far it is.
const STEP: usize = 16 << 20;
/// Bytes that are read at a time where the kernel does not copy.
const BUFFER: usize = 1 << 20;
/// Bytes of a block of zeroes that is not written.
const BLOCK: usize = 4096;

/// Copies a sparse file: by reflink where the file system can, else only the runs that hold data.
///
/// # Errors
/// As `open(2)` of a regular file, and as writing fails; what is written then is to be thrown away.
pub fn copy(from: &Path, target: &File) -> io::Result<()> {
    copy_until(from, target, &Progress::default())
}

/// How far a copy is, and whether it is to end.
#[derive(Debug, Default)]
pub struct Progress {
    /// Where it is in the file, in bytes.
    pub at: AtomicU64,
    /// It is of no use any more.
    pub stop: AtomicBool,
}

/// As [`copy`], as long as it is not stopped.
///
/// # Errors
/// As [`copy`]; [`io::ErrorKind::TimedOut`] when it was stopped.
pub fn copy_until(from: &Path, target: &File, progress: &Progress) -> io::Result<()> {
    let source = container_files::open(from, Links::Refuse)?;
    if rustix::fs::ioctl_ficlone(target, &source).is_ok() {
        return Ok(());
    }
    let size = source.metadata()?.len();
    target.set_len(size)?;
    let mut way = if container_files::tells_of_holes(&source)? {
        Way::Kernel
    } else {
        Way::Bytes(vec![0; BUFFER])
    };
    let mut offset = 0;
    while let Some(run) = container_files::data_after(&source, offset, size)? {
        if matches!(way, Way::Kernel) {
            allocate(target, &run)?;
        }
        let mut at = run.start;
        while at < run.end {
            if progress.stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let Some(count) = way.copy(&source, target, at..run.end)? else {
                way = Way::Bytes(vec![0; BUFFER]);
                continue;
            };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at += count;
            progress.at.store(at, Ordering::Relaxed);
        }
        offset = run.end;
    }
    Ok(())
}

/// Asks for the room of `run` of `target` first, so that a full disk is an error here and not a lost write of the guest. Where the file
/// system cannot give room before there is data (ext4 without extents, NFS before 4.2), it says so when that is written.
fn allocate(target: &File, run: &Range<u64>) -> io::Result<()> {
    let length = run.end - run.start;
    match rustix::fs::fallocate(target, FallocateFlags::empty(), run.start, length) {
        Err(Errno::NOTSUP | Errno::NOSYS) => Ok(()),
        done => Ok(done?),
    }
}

/// How bytes get from one file into another.
#[derive(Debug)]
enum Way {
    /// As the kernel finds best.
    Kernel,
    /// Through this buffer, without blocks of zeroes: they are holes that the file system does not tell of.
    Bytes(Vec<u8>),
}

impl Way {
    /// Copies what is at the begin of `run`, to its end at most; gives how many bytes, and nothing where this way leads nowhere between
    /// these two.
    fn copy(&mut self, source: &File, target: &File, run: Range<u64>) -> io::Result<Option<u64>> {
        let left = usize::try_from(run.end - run.start).unwrap_or(usize::MAX);
        let (mut read, mut written) = (run.start, run.start);
        match self {
            Self::Kernel => {
                let (from, to) = (Some(&mut read), Some(&mut written));
                match rustix::fs::copy_file_range(source, from, target, to, left.min(STEP)) {
                    Ok(count) => Ok(Some(count as u64)),
                    // Of two file systems, or one that knows none of it.
                    Err(Errno::XDEV | Errno::NOSYS | Errno::NOTSUP | Errno::INVAL) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
            Self::Bytes(buffer) => {
                let wanted = left.min(buffer.len());
                let count = source.read_at(&mut buffer[..wanted], run.start)?;
                for (number, block) in buffer[..count].chunks(BLOCK).enumerate() {
                    if block.iter().any(|byte| *byte != 0) {
                        target.write_all_at(block, run.start + (number * BLOCK) as u64)?;
                    }
                }
                Ok(Some(count as u64))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_is_stopped_is_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        std::fs::write(&from, "bytes").unwrap();
        let target = container_files::create(&to).unwrap();
        // By reflink it is made before anybody can stop it.
        let stopped = Progress {
            stop: true.into(),
            ..Progress::default()
        };
        match copy_until(&from, &target, &stopped) {
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::TimedOut),
            Ok(()) => assert_eq!(std::fs::read(&to).unwrap(), b"bytes"),
        }
        copy_until(&from, &target, &Progress::default()).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"bytes");
    }

    /// A file with data in its middle and at its end.
    fn sparse(path: &Path) -> Vec<u8> {
        let mut content = vec![0; (8 << 20) + 7];
        let (middle, last) = ((3 << 20) + 5, content.len() - 1);
        content[middle..middle + 9000].fill(1);
        content[last] = 2;
        let file = File::create(path).unwrap();
        for place in [middle..middle + 9000, last..last + 1] {
            let offset = place.start as u64;
            file.write_all_at(&content[place], offset).unwrap();
        }
        content
    }

    #[test]
    fn what_is_copied_by_hand_keeps_its_holes() {
        let scratch = tempfile::tempdir().unwrap();
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        let content = sparse(&from);
        let (source, target) = (File::open(&from).unwrap(), File::create(&to).unwrap());
        target.set_len(content.len() as u64).unwrap();
        let mut way = Way::Bytes(vec![0; BUFFER]);
        let (mut at, size) = (0, content.len() as u64);
        while at < size {
            at += way.copy(&source, &target, at..size).unwrap().unwrap();
        }
        assert!(std::fs::read(&to).unwrap() == content);
        let blocks = std::os::unix::fs::MetadataExt::blocks(&target.metadata().unwrap());
        assert!(blocks * 512 <= 64 << 10, "{blocks}");
    }

    /// Where the file that is tried on a file system of its own comes to be.
    const PLACE: &str = "CONTAINER_TEST_MOUNT";

    /// ramfs has no `fallocate(2)`, tells of no holes and of no blocks.
    #[test]
    fn a_file_system_that_lacks_what_others_have_does() {
        let scratch = tempfile::tempdir().unwrap();
        let flags = if rustix::process::geteuid().is_root() {
            "-m"
        } else {
            "-rm"
        };
        let name = "copy::tests::on_a_plain_file_system";
        let tried = std::process::Command::new("unshare")
            .arg(flags)
            .arg("--")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name, "--ignored", "--nocapture"])
            .env(PLACE, scratch.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&tried.stdout);
        assert!(
            tried.status.success() && said.contains("1 passed"),
            "{tried:?}"
        );
    }

    #[test]
    #[ignore = "a part of the one above"]
    fn on_a_plain_file_system() {
        let Some(place) = std::env::var_os(PLACE).map(std::path::PathBuf::from) else {
            return;
        };
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", &place, "ramfs", flags, None).unwrap();
        let (from, to) = (place.join("from"), place.join("to"));
        let content = sparse(&from);
        let source = File::open(&from).unwrap();
        assert!(!container_files::tells_of_holes(&source).unwrap());
        let target = container_files::create(&to).unwrap();
        let refused = rustix::fs::fallocate(&target, FallocateFlags::empty(), 0, 4096);
        assert_eq!(refused, Err(Errno::NOTSUP));
        copy(&from, &target).unwrap();
        assert!(std::fs::read(&to).unwrap() == content);
        // Data all over, on another file system.
        let scratch = tempfile::tempdir().unwrap();
        let whole = scratch.path().join("whole");
        std::fs::write(&whole, &content).unwrap();
        let target = container_files::create(&to).unwrap();
        copy(&whole, &target).unwrap();
        assert!(std::fs::read(&to).unwrap() == content);
        // An empty disk of half a terabyte, in a moment.
        let format = crate::Format::default();
        crate::prepare(&place.join("disk"), &format, &place.join("cache")).unwrap();
        let disk = place.join("disk");
        assert_eq!(std::fs::metadata(&disk).unwrap().len(), format.size);
        assert!(crate::is_ext4(&disk).unwrap());
        let unnamed = crate::unnamed(&format, &place.join("cache")).unwrap();
        assert_eq!(unnamed.metadata().unwrap().len(), format.size);
    }
}
