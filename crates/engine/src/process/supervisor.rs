//! Answers the system calls of a VMM that its filter asks about, as long as the VMM lives.
//!
//! While it starts, it gets what it has been lent and is let through what a start needs. What else it tries then seems not
//! to be there: it is a program that somebody installed, in a version that we may not know. Once its machine runs, it
//! is what a guest may have made of it, and the first call that a VMM has no use for ends it.

use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use syscalls::Sysno;

use super::calls::{Answer, Call, Calls};
use super::loan::{Loan, PATH_LIMIT};
use crate::confinement::filter::starting;

/// Calls that seem not to exist, at any time: what a program has another way for, it then does the other way. The rings
/// make system calls that no filter sees; the arguments of `clone3` are out of a filter's sight.
const ABSENT: [i64; 5] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_clone3,
    libc::SYS_faccessat2,
];

/// Questions about paths. There is nothing at any path once the machine runs.
const PATHS: [i64; 9] = [
    libc::SYS_newfstatat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
];

/// Starts of paths that a C library opens while its program runs: how memory may be given back
/// (`/proc/sys/vm/overcommit_memory`), how many processors there are, the time zone, the language of messages, the
/// character sets of a language.
const LIBRARIES: [&str; 6] = [
    "/proc/sys/",
    "/proc/stat",
    "/sys/devices/system/cpu/",
    "/etc/localtime",
    "/usr/share/",
    "/usr/lib/locale/",
];

/// What the process that owns a VMM knows of it, and what the supervisor knows.
#[derive(Debug, Default)]
pub(crate) struct State {
    running: AtomicBool,
    forbidden: OnceLock<String>,
    replacement: Mutex<Option<Replacement>>,
}

/// A file that is to take the place of another one in the VMM.
#[derive(Debug)]
pub(crate) struct Replacement {
    /// The descriptor, in the VMM.
    pub(crate) number: RawFd,
    pub(crate) file: OwnedFd,
}

impl Replacement {
    /// What the VMM is to open, for writing: this fails, and the replacement has been made by then. There is no such file.
    pub(crate) const PATH: &str = "/guest/replacement";
}

impl State {
    /// From now on a guest's bytes are in the VMM's hands.
    pub(super) fn machine_runs(&self) {
        self.running.store(true, Ordering::SeqCst);
    }

    /// Sets what is replaced next, or nothing; gives what has not been replaced.
    pub(super) fn replace_next(&self, next: Option<Replacement>) -> Option<Replacement> {
        std::mem::replace(&mut *self.replacement(), next)
    }

    fn replacement(&self) -> std::sync::MutexGuard<'_, Option<Replacement>> {
        self.replacement
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The call for which the VMM was ended.
    pub(crate) fn forbidden(&self) -> Option<&str> {
        self.forbidden.get().map(String::as_str)
    }
}

/// Decides about one VMM's calls.
#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) calls: Calls,
    pub(super) loans: Vec<Loan>,
    pub(super) state: Arc<State>,
    pub(super) process: OwnedFd,
    pub(super) pid: u32,
    /// Most threads.
    pub(super) threads: u32,
    /// What it may call while it starts, beside what every VMM may.
    pub(super) starting: Vec<i64>,
    /// Whether the process sees the host's paths.
    pub(super) sees_paths: bool,
}

impl Supervisor {
    /// Answers until the process ends. On a thread of its own: the VMM waits meanwhile.
    pub(super) fn serve(mut self) {
        while let Ok(Some(call)) = self.calls.next(None) {
            if let Err(error) = self.answer(&call) {
                // The caller was killed in between, or the next call tells what is wrong.
                tracing::debug!(%error, "a VMM's system call was not answered");
            }
        }
    }

    fn answer(&mut self, call: &Call) -> io::Result<()> {
        let number = call.number();
        let answer = match number {
            libc::SYS_clone if makes_a_thread(call) => self.new_thread(),
            libc::SYS_fallocate => self.hole(call),
            libc::SYS_newfstatat if asks_of_a_descriptor(call) => self.status(call),
            _ if ABSENT.contains(&number) => Answer::Fails(Errno::NOSYS),
            _ if self.state.running.load(Ordering::SeqCst) => return self.while_running(call),
            libc::SYS_openat => return self.open(call),
            _ if starting::allows(number) || self.starting.contains(&number) => Answer::Continue,
            _ => {
                tracing::debug!("the VMM does without the system call {}", name(call));
                Answer::Fails(Errno::NOSYS)
            }
        };
        self.calls.answer(call, answer)
    }

    fn while_running(&self, call: &Call) -> io::Result<()> {
        if PATHS.contains(&call.number()) || looks_for_the_systems(call) {
            return self.calls.answer(call, Answer::Fails(Errno::NOENT));
        }
        if asks_for_replacement(call) {
            let replaced = self.replace(call);
            if let Err(error) = replaced {
                tracing::warn!(%error, "a descriptor of the VMM was not replaced");
            }
            return self.calls.answer(call, Answer::Fails(Errno::NOENT));
        }
        let _ = self.state.forbidden.set(name(call));
        tracing::warn!("the VMM made the system call {}: it is ended", name(call));
        pidfd_send_signal(&self.process, Signal::KILL)?;
        self.calls.answer(call, Answer::Fails(Errno::NOSYS))
    }

    /// Replaces what is to be replaced. It stays to be when that fails.
    fn replace(&self, call: &Call) -> io::Result<()> {
        let mut replacement = self.state.replacement();
        if let Some(Replacement { number, file }) = &*replacement {
            self.calls.replace(call, *number, file.as_fd())?;
        }
        *replacement = None;
        Ok(())
    }

    /// An open while the VMM starts: its program's files can be read, and what it was lent is lent.
    fn open(&mut self, call: &Call) -> io::Result<()> {
        let path = call.text::<PATH_LIMIT>(1).unwrap_or_default();
        let Self { calls, loans, .. } = self;
        let wanted = loans.iter_mut().find(|loan| loan.is_at(&path));
        if let Some(loan) = wanted {
            loan.rewind();
            let descriptor = calls.answer_with(call, loan.as_fd())?;
            loan.lent_as(descriptor);
            return Ok(());
        }
        let answer = if writes(call) {
            Answer::Fails(Errno::NOENT)
        } else {
            Answer::Continue
        };
        calls.answer(call, answer)
    }

    /// A thread, as many as there may be.
    fn new_thread(&self) -> Answer {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid)).map(Iterator::count);
        match threads {
            Ok(threads) if u32::try_from(threads).is_ok_and(|threads| threads < self.threads) => {
                Answer::Continue
            }
            _ => Answer::Fails(Errno::AGAIN),
        }
    }

    /// A hole in a file: in lent memory it is not made.
    fn hole(&self, call: &Call) -> Answer {
        let file = call.arguments()[0];
        let mut loans = self.loans.iter();
        if loans.any(|loan| loan.keeps_its_pages() && loan.is_lent_as(file)) {
            Answer::Nothing
        } else {
            Answer::Continue
        }
    }

    /// What a descriptor is. In a process that sees the host's paths the kernel must not read a path again that was seen to
    /// be empty: it is answered for it.
    fn status(&self, call: &Call) -> Answer {
        if !self.sees_paths {
            return Answer::Continue;
        }
        let [descriptor, _, target, ..] = *call.arguments();
        match call.status(&self.process, descriptor, target) {
            Ok(()) => Answer::Nothing,
            Err(error) => Answer::Fails(Errno::from_io_error(&error).unwrap_or(Errno::PERM)),
        }
    }
}

/// Whether a call opens, for reading, what a C library looks for at any time. It gets on without.
fn looks_for_the_systems(call: &Call) -> bool {
    call.number() == libc::SYS_openat
        && !writes(call)
        && call.text::<PATH_LIMIT>(1).is_ok_and(|path| {
            let mut known = LIBRARIES.iter();
            known.any(|start| path.starts_with(start.as_bytes()))
        })
}

/// Whether a call is the one by which the VMM, told to, lets one of its descriptors be replaced.
fn asks_for_replacement(call: &Call) -> bool {
    let path = Replacement::PATH.as_bytes();
    call.number() == libc::SYS_openat && call.text::<PATH_LIMIT>(1).is_ok_and(|asked| asked == path)
}

/// Whether an `openat` is for writing, or makes a file.
fn writes(call: &Call) -> bool {
    let flags = u32::try_from(call.arguments()[2] & 0xffff_ffff).unwrap_or_default();
    let making = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_TMPFILE).unsigned_abs();
    flags & making & !libc::O_DIRECTORY.unsigned_abs() != 0
}

/// Whether a `clone` is for a thread. Flags are no pointer: what was seen is what the kernel does.
fn makes_a_thread(call: &Call) -> bool {
    call.arguments()[0] & u64::from(libc::CLONE_THREAD.unsigned_abs()) != 0
}

/// Whether a `newfstatat` is the C library's `fstat`.
fn asks_of_a_descriptor(call: &Call) -> bool {
    let flags = call.arguments()[3];
    flags & u64::from(libc::AT_EMPTY_PATH.unsigned_abs()) != 0
        && call.text::<1>(1).is_ok_and(|path| path.is_empty())
}

/// Name of a system call, or its number where it is newer than this list.
fn name(call: &Call) -> String {
    let number = usize::try_from(call.number()).ok();
    let known = number.and_then(Sysno::new);
    known.map_or_else(|| call.number().to_string(), |call| call.name().to_owned())
}
