//! The process that keeps a user's way out running. It outlives the network's process, and is found by its lock.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use container_api::chain::about;
use container_api::lock;
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::user::Program;
use crate::ready;

/// The first and the longest pause before what has ended is started again: without a route of the host's the program ends at once.
pub const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often it is looked whether a process is stopped: nobody is told of that.
pub const LOOK: Duration = Duration::from_secs(5);

/// Pauses that grow while what is started again does not last.
#[derive(Debug)]
pub struct Backoff {
    begun: Instant,
    pause: Duration,
}

impl Backoff {
    /// None was needed yet.
    pub fn new() -> Self {
        Self {
            begun: Instant::now(),
            pause: BACKOFF.0,
        }
    }

    /// The pause now that it has ended.
    pub fn pause(&mut self) -> Duration {
        if self.begun.elapsed() > BACKOFF.1 {
            self.pause = BACKOFF.0;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(BACKOFF.1);
        self.begun = Instant::now() + pause;
        pause
    }
}

/// Where its lock is in the network's directory.
fn lock_path(state: &Path) -> PathBuf {
    state.join("uplink.lock")
}

/// Whether there is one.
///
/// # Errors
/// As [`lock::holder`].
pub fn is_there(state: &Path) -> io::Result<bool> {
    Ok(lock::holder(&lock_path(state))?.is_some())
}

/// Starts one for the namespaces of `holder`, unless there is one.
///
/// # Errors
/// When it can't be started.
pub async fn start(program: Program, state: &Path, holder: Pid, mtu: u32) -> io::Result<()> {
    if is_there(state)? {
        return Ok(());
    }
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("uplink")
        .args(["--program", program.name()])
        .arg("--lock")
        .arg(lock_path(state))
        .args(["--holder", &holder.as_raw_nonzero().to_string()])
        .args(["--mtu", &mtu.to_string()]);
    ready::start(command).await.map(drop)
}

/// Ends it, and its program with it.
///
/// # Errors
/// As [`lock::signal_holder`].
pub async fn end(state: &Path) -> io::Result<()> {
    let path = lock_path(state);
    lock::signal_holder(&path, Signal::TERM)?;
    // One that is stopped hears it only when it goes on.
    lock::signal_holder(&path, Signal::CONT)?;
    ended(state).await
}

/// The same of one whose namespaces are gone, whatever state it is in.
///
/// # Errors
/// As [`lock::signal_holder`].
pub async fn kill(state: &Path) -> io::Result<()> {
    lock::signal_holder(&lock_path(state), Signal::KILL)?;
    ended(state).await
}

/// Waits until there is none.
///
/// # Errors
/// As [`lock::released`].
pub async fn ended(state: &Path) -> io::Result<()> {
    lock::released(&lock_path(state)).await
}

/// Lets one that is stopped go on; whether it was.
///
/// # Errors
/// As [`lock::signal_holder`].
pub fn wake(state: &Path) -> io::Result<bool> {
    let path = lock_path(state);
    match lock::holder(&path)? {
        Some(pid) if is_stopped(pid) => lock::signal_holder(&path, Signal::CONT),
        _ => Ok(false),
    }
}

/// Whether somebody has stopped the process (`proc_pid_stat`(5)).
fn is_stopped(pid: Pid) -> bool {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    let stat = std::fs::read_to_string(path).unwrap_or_default();
    // Its name, in brackets, may be anything.
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|state| state.starts_with('T'))
}

/// The program: keeps `program` running until SIGTERM, or the end of the namespaces' holder.
///
/// # Errors
/// When another one runs already, or the holder is not there.
pub fn run(program: Program, path: &Path, holder: i32, mtu: u32) -> io::Result<()> {
    let _lock = ready::say(lock::acquire(path))?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(keep(program, holder, mtu))
}

async fn keep(program: Program, holder: i32, mtu: u32) -> io::Result<()> {
    let pid = Pid::from_raw(holder).ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    // SAFETY: an OwnedFd names one open description as long as it lives.
    let ended = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE)? };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut backoff = Backoff::new();
    let name = program.name();
    loop {
        let mut child = program
            .command(holder, mtu)
            .spawn()
            .map_err(|error| about(name, error))?;
        tokio::select! {
            status = lasts(&mut child, name) => tracing::warn!("{name} has ended: {}", status?),
            // Readable: the process has ended (pidfd_open(2)).
            _ = ended.readable() => return child.kill().await,
            _ = terminate.recv() => return child.kill().await,
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.pause()) => {}
            _ = ended.readable() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        }
    }
}

/// Waits for the end of `child`, and lets it go on when somebody has stopped it.
async fn lasts(
    child: &mut tokio::process::Child,
    name: &str,
) -> io::Result<std::process::ExitStatus> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let pid = pid.and_then(Pid::from_raw);
    loop {
        if let Ok(status) = tokio::time::timeout(LOOK, child.wait()).await {
            return status;
        }
        // It is not reaped yet, so the number is its own.
        if let Some(pid) = pid.filter(|pid| is_stopped(*pid)) {
            tracing::warn!("{name} was stopped: it goes on");
            rustix::process::kill_process(pid, Signal::CONT)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_something_lasts() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..8).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.begun = Instant::now().checked_sub(BACKOFF.1 * 2).unwrap();
        assert_eq!(backoff.pause(), BACKOFF.0);
    }

    #[tokio::test]
    async fn a_process_that_is_stopped_is_seen() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        assert!(!is_stopped(pid));
        rustix::process::kill_process(pid, Signal::STOP).unwrap();
        while !is_stopped(pid) {
            tokio::task::yield_now().await;
        }
        child.kill().await.unwrap();
        assert!(!is_stopped(pid));
    }
}
