//! One process: its streams, its signals, its end.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use container_api::streams::StandardStream;
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus, waitid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::spawn::Birth;
use super::terminal::Terminal;
use crate::watch::{Watched, watch};

/// Exit code of a process whose status the kernel did not tell.
const UNKNOWN: i32 = 255;

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
    streams: Mutex<ParentIo>,
    has_terminal: bool,
    /// Gone when it was hung up.
    terminal: Mutex<Option<Arc<Terminal>>>,
    /// Whether standard output and standard error were closed.
    closed: [watch::Sender<bool>; 2],
    waited: AtomicBool,
}

/// The streams that nobody reads or feeds at the moment.
#[derive(Debug)]
struct ParentIo {
    stdin: Option<Watched>,
    stdout: Option<Watched>,
    stderr: Option<Watched>,
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
        let terminal = birth.terminal.as_ref().map(Arc::downgrade);
        tokio::spawn(async move {
            let code = reap(pidfd).await;
            // Before its output is read to the end.
            if let Some(terminal) = terminal.and_then(|terminal| terminal.upgrade()) {
                terminal.let_go();
            }
            sender.send_replace(Some(Exit {
                code,
                oom_killed: oom_killed(),
            }));
        });
        let streams = ParentIo {
            stdin: birth.stdin,
            stdout: Some(birth.stdout),
            stderr: birth.stderr,
        };
        Ok(Arc::new(Self {
            pid: birth.pid,
            pidfd: weak,
            exit,
            streams: Mutex::new(streams),
            has_terminal: birth.terminal.is_some(),
            terminal: Mutex::new(birth.terminal),
            closed: Default::default(),
            waited: false.into(),
        }))
    }

    /// The end, if it has come.
    pub fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Whether the end has come or is on its way: a first process that has left its namespaces waits, for seconds perhaps, until
    /// every other process of the container is gone.
    pub fn is_ending(&self) -> bool {
        let namespace = format!("/proc/{}/ns/mnt", self.pid.as_raw_nonzero());
        self.exit().is_some() || std::fs::metadata(namespace).is_err()
    }

    /// Whether somebody has been told of the end.
    pub fn was_waited_for(&self) -> bool {
        self.waited.load(Ordering::Relaxed)
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

    /// Its terminal, if it has one that was not hung up.
    pub fn terminal(&self) -> Option<Arc<Terminal>> {
        let terminal = self.terminal.lock().unwrap_or_else(PoisonError::into_inner);
        terminal.clone()
    }

    /// Takes a stream; it must be [returned](Self::put_back) unless it has ended.
    pub fn take(&self, stream: StandardStream) -> Option<Watched> {
        self.slot(stream, Option::take)
    }

    /// Returns a stream that somebody stopped using before its end.
    pub fn put_back(&self, stream: StandardStream, descriptor: Watched) {
        if !self.is_closed(stream) {
            self.slot(stream, |slot| *slot = Some(descriptor));
        }
    }

    /// Closes an output, standard error or standard output: nobody will read it any more. A terminal, which has one output,
    /// is hung up: its master is closed as soon as whoever uses it has noticed.
    pub fn close(&self, stderr: bool) {
        let (output, number) = if stderr {
            (StandardStream::Stderr, 1)
        } else {
            (StandardStream::Stdout, 0)
        };
        self.closed[number].send_replace(true);
        self.slot(output, |slot| *slot = None);
        if self.has_terminal && !stderr {
            self.slot(StandardStream::Stdin, |slot| *slot = None);
            let mut terminal = self.terminal.lock().unwrap_or_else(PoisonError::into_inner);
            *terminal = None;
        }
    }

    /// Whether `stream` was [closed](Self::close).
    pub fn is_closed(&self, stream: StandardStream) -> bool {
        self.closing(stream).is_some_and(|closed| *closed.borrow())
    }

    /// Waits until `stream` is [closed](Self::close), which a standard input is with its terminal only.
    pub async fn closed(&self, stream: StandardStream) {
        match self.closing(stream) {
            // The sender is our own.
            Some(closed) => drop(closed.subscribe().wait_for(|closed| *closed).await),
            None => std::future::pending().await,
        }
    }

    fn closing(&self, stream: StandardStream) -> Option<&watch::Sender<bool>> {
        let [stdout, stderr] = &self.closed;
        match stream {
            StandardStream::Stdin => self.has_terminal.then_some(stdout),
            StandardStream::Stdout => Some(stdout),
            StandardStream::Stderr => Some(stderr),
        }
    }

    fn slot<T>(&self, stream: StandardStream, change: impl FnOnce(&mut Option<Watched>) -> T) -> T {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        change(match stream {
            StandardStream::Stdin => &mut streams.stdin,
            StandardStream::Stdout => &mut streams.stdout,
            StandardStream::Stderr => &mut streams.stderr,
        })
    }
}

/// Waits for the end of the process and takes its status from the kernel.
pub async fn reap(ended: Watched) -> i32 {
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
