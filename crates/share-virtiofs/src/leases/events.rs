//! What the host's kernel tells of directories: `fanotify`(7), as a process without privileges has it.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What changes a name or attributes, and who may change data unseen from then on. A mapping that was written to is told of when it goes: who
/// mapped the file for writing closes it then.
const TOLD_OF: u64 = libc::FAN_OPEN
    | libc::FAN_MODIFY
    | libc::FAN_ATTRIB
    | libc::FAN_CLOSE_WRITE
    | libc::FAN_CREATE
    | libc::FAN_DELETE
    | libc::FAN_MOVED_FROM
    | libc::FAN_MOVED_TO
    | libc::FAN_DELETE_SELF
    | libc::FAN_MOVE_SELF
    | libc::FAN_EVENT_ON_CHILD
    | libc::FAN_ONDIR;

/// Bytes that are read at once: a thousand events or so.
const BUFFER: usize = 64 << 10;

/// File systems that tell of whatever changes them (linux/magic.h): others have changes of other hosts, or of programs.
const TOLD: [u64; 6] = [
    0xEF53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683E, // Btrfs
    0x0102_1994, // tmpfs
    0xF2F5_2010, // F2FS
    OVERLAYFS,
];

/// What has a mapping of a file of it has another file open, below it.
const OVERLAYFS: u64 = 0x794C_7630;

/// What somebody else than this process has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Foreign {
    /// Nothing of interest.
    None,
    /// Opened a file: it may be changed by a mapping.
    Opened,
    /// Changed something, or what it was got lost.
    Changed,
}

/// A group of watched directories.
#[derive(Debug)]
pub struct Events {
    group: OwnedFd,
    /// This process's descriptors.
    descriptors: OwnedFd,
}

impl Events {
    /// A group without directories; `descriptors` lists those of this process.
    ///
    /// # Errors
    /// Before Linux 5.13, and where there are too many groups.
    pub fn new(descriptors: OwnedFd) -> io::Result<Self> {
        let flags = libc::FAN_CLASS_NOTIF | libc::FAN_CLOEXEC | libc::FAN_REPORT_FID;
        let files = (libc::O_RDONLY | libc::O_CLOEXEC).unsigned_abs();
        // SAFETY: two numbers.
        let group = unsafe { libc::fanotify_init(flags, files) };
        if group < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nothing else owns.
        let group = unsafe { OwnedFd::from_raw_fd(group) };
        Ok(Self { group, descriptors })
    }

    /// The same group.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            group: self.group.try_clone()?,
            descriptors: self.descriptors.try_clone()?,
        })
    }

    /// Watches the directory that `place` leads to, and what is in it. Tells whether a file of it shows who has it open for writing.
    ///
    /// # Errors
    /// When its file system tells of no changes, or not of all.
    pub fn watch(&self, place: &OwnedFd) -> io::Result<bool> {
        let kind = rustix::fs::fstatfs(place)?.f_type;
        let kind = u64::try_from(kind).unwrap_or_default();
        if !TOLD.contains(&kind) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.mark(libc::FAN_MARK_ADD, place)?;
        Ok(kind != OVERLAYFS)
    }

    /// Watches it no more. It may be gone.
    pub fn leave(&self, place: &OwnedFd) {
        let _ = self.mark(libc::FAN_MARK_REMOVE, place);
    }

    fn mark(&self, action: libc::c_uint, place: &OwnedFd) -> io::Result<()> {
        // A descriptor without rights is marked by its name.
        let name = std::ffi::CString::new(place.as_raw_fd().to_string())?;
        // SAFETY: open descriptors, and a name that ends in a NUL.
        let marked = unsafe {
            libc::fanotify_mark(
                self.group.as_raw_fd(),
                action | libc::FAN_MARK_ONLYDIR,
                TOLD_OF,
                self.descriptors.as_raw_fd(),
                name.as_ptr(),
            )
        };
        if marked == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Waits for events, for ever without a `limit`. Tells whether there are some.
    pub fn wait(&self, limit: Option<&Timespec>) -> io::Result<bool> {
        let mut polled = [PollFd::new(&self.group, PollFlags::IN)];
        Ok(rustix::io::retry_on_intr(|| poll(&mut polled, limit))? > 0)
    }

    /// What somebody else than this process has done, of what those events tell of that are there. Waits for one.
    pub fn foreign(&self) -> io::Result<Foreign> {
        let mut buffer = vec![0; BUFFER];
        let length = rustix::io::retry_on_intr(|| rustix::io::read(&self.group, &mut buffer))?;
        Ok(foreign(&buffer[..length], std::process::id()))
    }
}

/// The most that `events` tell of what is not done by the process `own`. The kernel names no other process; nor who made it lose events.
fn foreign(mut events: &[u8], own: u32) -> Foreign {
    const HEAD: usize = size_of::<libc::fanotify_event_metadata>();
    let mut most = Foreign::None;
    while let Some(head) = events.get(..HEAD) {
        let number = |at: usize| {
            let bytes = head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            u32::from_ne_bytes(bytes.unwrap_or_default())
        };
        let mask = head.get(8..16).and_then(|bytes| bytes.try_into().ok());
        // `event_len`, `vers`, `reserved`, `metadata_len`, `mask`, `fd`, `pid`.
        let (length, mask, pid) = (number(0), mask.map_or(0, u64::from_ne_bytes), number(20));
        if pid != own {
            most = most.max(kind(mask));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX).max(HEAD);
        events = events.get(length..).unwrap_or_default();
    }
    most
}

/// What `mask` tells of. A directory is opened to be listed.
fn kind(mask: u64) -> Foreign {
    match mask & !libc::FAN_EVENT_ON_CHILD {
        libc::FAN_OPEN => Foreign::Opened,
        mask if mask == libc::FAN_OPEN | libc::FAN_ONDIR => Foreign::None,
        _ => Foreign::Changed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(length: u32, mask: u64, pid: u32) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend([3, 0, 24, 0]);
        bytes.extend(mask.to_ne_bytes());
        bytes.extend((-1_i32).to_ne_bytes());
        bytes.extend(pid.to_ne_bytes());
        bytes.resize(usize::try_from(length).unwrap().clamp(24, 100), 0);
        bytes
    }

    #[test]
    fn what_this_process_did_is_not_foreign() {
        let (opened, changed) = (libc::FAN_OPEN, libc::FAN_OPEN | libc::FAN_MODIFY);
        let own = [event(44, changed, 7), event(24, opened, 7)].concat();
        let beside = |other: &[u8]| foreign(&[&own[..], other].concat(), 7);
        assert_eq!(beside(&[]), Foreign::None);
        assert_eq!(beside(&event(44, opened, 0)), Foreign::Opened);
        let listed = opened | libc::FAN_ONDIR;
        assert_eq!(beside(&event(44, listed, 0)), Foreign::None);
        let both = [event(44, changed, 0), event(44, opened, 0)].concat();
        assert_eq!(beside(&both), Foreign::Changed);
        let lost = libc::FAN_Q_OVERFLOW;
        assert_eq!(beside(&event(44, lost, 0)), Foreign::Changed);
        // A length that is none.
        assert_eq!(foreign(&event(0, changed, 7), 7), Foreign::None);
        assert_eq!(foreign(&event(u32::MAX, changed, 7), 7), Foreign::None);
    }

    #[test]
    fn another_process_is_noticed_and_this_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let descriptors: OwnedFd = std::fs::File::open("/proc/self/fd").unwrap().into();
        let events = Events::new(descriptors).unwrap();
        let place: OwnedFd = std::fs::File::open(directory.path()).unwrap().into();
        if let Err(error) = events.watch(&place) {
            // A file system of this host that tells of nothing.
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            return;
        }
        let limit = Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        std::fs::write(directory.path().join("own"), "").unwrap();
        assert!(events.wait(Some(&limit)).unwrap());
        assert_eq!(events.foreign().unwrap(), Foreign::None);
        let run = |program| {
            let mut command = std::process::Command::new(program);
            let done = command.arg(directory.path().join("own")).output();
            assert!(done.unwrap().status.success());
            assert!(events.wait(Some(&limit)).unwrap());
            events.foreign().unwrap()
        };
        assert_eq!(run("cat"), Foreign::Opened);
        assert_eq!(run("touch"), Foreign::Changed);
        events.leave(&place);
    }
}
