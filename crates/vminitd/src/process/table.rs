//! The processes that were asked for, by the ids that the host gave them.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus, waitid};
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::spawn::Birth;
use crate::watch::{Watched, watch};

/// Processes that run at a time.
const RUNNING_MAX: usize = 4096;
/// Ended processes that are remembered: after somebody has waited for them, and in any case.
const ENDED_KEPT: usize = 128;
const ENDED_MAX: usize = 1024;

/// Exit code of a process whose status the kernel did not tell.
const UNKNOWN: i32 = 255;

/// Why a process is not in the table.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TableError {
    /// The id is unknown, or its process ended long ago.
    #[error("there is no process {0:?}")]
    Unknown(String),
    /// The id was used before.
    #[error("the process {0:?} exists already")]
    Exists(String),
    /// Too many run at a time.
    #[error("the container has {RUNNING_MAX} processes of ours already")]
    Full,
}

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit status, or 128 + signal.
    pub code: i32,
    /// The kernel killed a process of the container for lack of memory.
    pub oom_killed: bool,
}

/// One process.
#[derive(Debug)]
pub struct Process {
    pub pid: Pid,
    /// Closed at the end.
    pidfd: Weak<AsyncFd<OwnedFd>>,
    exit: watch::Receiver<Option<Exit>>,
    streams: Mutex<Streams>,
    terminal: Option<Watched>,
    waited: AtomicBool,
}

/// Streams that nobody reads or feeds at the moment.
#[derive(Debug)]
struct Streams {
    stdin: Option<Watched>,
    stdout: Option<Watched>,
    stderr: Option<Watched>,
}

/// One of a process's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

impl Process {
    /// Waits for the end in the background. `oom_killed` is asked once, then.
    pub fn new(
        birth: Birth,
        oom_killed: impl FnOnce() -> bool + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let pidfd = Arc::new(watch(birth.pidfd, Interest::READABLE)?);
        let weak = Arc::downgrade(&pidfd);
        let (sender, exit) = watch::channel(None);
        tokio::spawn(async move {
            let code = reap(pidfd).await;
            sender.send_replace(Some(Exit {
                code,
                oom_killed: oom_killed(),
            }));
        });
        let terminal = birth.terminal.then(|| Arc::clone(&birth.stdout));
        let streams = Streams {
            stdin: birth.stdin,
            stdout: Some(birth.stdout),
            stderr: birth.stderr,
        };
        Ok(Arc::new(Self {
            pid: birth.pid,
            pidfd: weak,
            exit,
            streams: Mutex::new(streams),
            terminal,
            waited: false.into(),
        }))
    }

    /// The end, if it has come.
    pub fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Waits for the end, as the host does.
    pub async fn wait(&self) -> Exit {
        self.ended().await;
        self.waited.store(true, Ordering::Relaxed);
        // The task that sends ends only after it has sent.
        self.exit().unwrap_or(Exit {
            code: UNKNOWN,
            oom_killed: false,
        })
    }

    /// Waits for the end.
    pub async fn ended(&self) {
        // An error means that the sender is gone, which it is after the end only.
        let _ = self.exit.clone().wait_for(Option::is_some).await;
    }

    /// Sends a signal, 1 to 64.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let no_details = std::ptr::null::<libc::siginfo_t>();
        let pidfd = self.pidfd().ok_or(Errno::SRCH)?;
        let number = pidfd.get_ref().as_raw_fd();
        // SAFETY: pidfd_send_signal(2) touches no memory when no details are given.
        let result =
            unsafe { libc::syscall(libc::SYS_pidfd_send_signal, number, signal, no_details, 0) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Refers to the process as long as it runs.
    pub fn pidfd(&self) -> Option<Watched> {
        self.pidfd.upgrade()
    }

    /// The terminal's master, if the process has a terminal.
    pub fn terminal(&self) -> Option<&Watched> {
        self.terminal.as_ref()
    }

    /// Takes a stream; it must be [returned](Self::put_back) unless it has ended.
    pub fn take(&self, stream: Stream) -> Option<Watched> {
        self.slot(stream, Option::take)
    }

    /// Returns a stream that somebody stopped using before its end.
    pub fn put_back(&self, stream: Stream, descriptor: Watched) {
        self.slot(stream, |slot| *slot = Some(descriptor));
    }

    fn slot<T>(&self, stream: Stream, change: impl FnOnce(&mut Option<Watched>) -> T) -> T {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        change(match stream {
            Stream::Stdin => &mut streams.stdin,
            Stream::Stdout => &mut streams.stdout,
            Stream::Stderr => &mut streams.stderr,
        })
    }
}

/// Waits for the end of the process and takes its status from the kernel.
async fn reap(ended: Watched) -> i32 {
    loop {
        let ready = ended.readable().await;
        let status = waitid(
            WaitId::PidFd(ended.get_ref().as_fd()),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        );
        match (status, ready) {
            (Ok(Some(status)), _) => return exit_code(&status),
            (Ok(None), Ok(mut ready)) => ready.clear_ready(),
            // Nobody else waits for our children, so this is the kernel's or the reactor's failure.
            (Err(_), _) | (Ok(None), Err(_)) => return UNKNOWN,
        }
    }
}

fn exit_code(status: &WaitIdStatus) -> i32 {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or(signal).unwrap_or(UNKNOWN)
}

/// The table.
#[derive(Debug, Default)]
pub struct Table {
    processes: HashMap<String, Arc<Process>>,
    /// Ids in the order of their start.
    order: VecDeque<String>,
}

impl Table {
    /// Checks that `id` may be added.
    pub fn vacant(&mut self, id: &str) -> Result<(), TableError> {
        if self.processes.contains_key(id) {
            return Err(TableError::Exists(id.to_owned()));
        }
        self.forget();
        let running = self
            .processes
            .values()
            .filter(|process| process.exit().is_none())
            .count();
        if running < RUNNING_MAX {
            Ok(())
        } else {
            Err(TableError::Full)
        }
    }

    /// Adds a process.
    pub fn insert(&mut self, id: String, process: Arc<Process>) {
        self.order.push_back(id.clone());
        self.processes.insert(id, process);
    }

    /// Finds a process.
    pub fn get(&self, id: &str) -> Result<Arc<Process>, TableError> {
        self.processes
            .get(id)
            .cloned()
            .ok_or_else(|| TableError::Unknown(id.to_owned()))
    }

    /// Every process that is remembered.
    pub fn all(&self) -> Vec<Arc<Process>> {
        self.processes.values().cloned().collect()
    }

    /// Drops the oldest ended processes when there are too many. The first process is never dropped.
    fn forget(&mut self) {
        let mut ended = self
            .processes
            .values()
            .filter(|process| process.exit().is_some())
            .count();
        let mut index = 1;
        while ended > ENDED_KEPT && index < self.order.len() {
            let id = &self.order[index];
            let drop = self.processes.get(id).is_none_or(|process| {
                let waited = process.waited.load(Ordering::Relaxed);
                process.exit().is_some() && (waited || ended > ENDED_MAX)
            });
            if drop {
                self.processes.remove(id);
                self.order.remove(index);
                ended -= 1;
            } else {
                index += 1;
            }
        }
    }
}
