//! The way out without root: a program that makes every connection of the network one of its own on the host.
//!
//! A process of this program keeps it running, and outlives the network's process: it is found by its lock.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::ValueEnum;
use container_api::chain::about;
use container_api::lock;
use ipnet::IpNet;
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};

use super::{pasta, slirp4netns};

/// The first and the longest pause before it is started again: without a route of the host's it ends at once.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Program {
    /// The faster one.
    Pasta,
    /// Where there is no pasta that can be used.
    Slirp4netns,
}

/// Why there is no way out.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// None of the programs is there.
    #[error("neither pasta (package passt) nor slirp4netns is installed")]
    Missing,
    /// It is too old.
    #[error(
        "this host's pasta (package passt) is too old: one of 2024 or later is needed, as those before it damage streams; slirp4netns is not installed either"
    )]
    Old,
}

impl Program {
    /// The one of this host.
    ///
    /// # Errors
    /// When there is none.
    pub fn find() -> Result<Self, UserError> {
        let pasta = pasta::state();
        match pasta {
            pasta::State::Usable => Ok(Self::Pasta),
            _ if slirp4netns::is_there() => Ok(Self::Slirp4netns),
            pasta::State::Old => Err(UserError::Old),
            pasta::State::Missing => Err(UserError::Missing),
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pasta => "pasta",
            Self::Slirp4netns => "slirp4netns",
        }
    }

    /// Where it has addresses of its own in the network's namespace.
    pub fn networks(self) -> Vec<IpNet> {
        let networks = match self {
            Self::Pasta => pasta::NETWORKS,
            Self::Slirp4netns => slirp4netns::NETWORKS,
        };
        networks
            .iter()
            .filter_map(|network| network.parse().ok())
            .collect()
    }

    /// Whether it tells the network's namespace its addresses and routes, as a router does.
    pub fn announces(self) -> bool {
        self == Self::Slirp4netns
    }

    fn command(self, holder: i32, mtu: u32) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(self.name());
        match self {
            Self::Pasta => pasta::arguments(&mut command, holder, mtu),
            Self::Slirp4netns => slirp4netns::arguments(&mut command, holder, mtu),
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // It repeats its whole configuration there.
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let keeper = rustix::process::getpid();
        let ends_with_keeper = move || {
            // The signal comes when the thread that forked ends: the keeper's only one.
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // It may have ended before.
            if rustix::process::getppid() == Some(keeper) {
                Ok(())
            } else {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        };
        // SAFETY: two system calls, which allocate nothing and take no lock.
        unsafe { command.pre_exec(ends_with_keeper) };
        command
    }
}

/// Where its keeper's lock is in the network's directory.
fn lock_path(state: &Path) -> PathBuf {
    state.join("uplink.lock")
}

/// Starts the keeper of a way out for the namespaces of `holder`, unless there is one.
///
/// # Errors
/// When it can't be started.
pub fn start(program: Program, state: &Path, holder: Pid, mtu: u32) -> io::Result<()> {
    let path = lock_path(state);
    if lock::holder(&path)?.is_some() {
        return Ok(());
    }
    let own = std::env::current_exe()?;
    std::process::Command::new(own)
        .arg("uplink")
        .args(["--program", program.name()])
        .arg("--lock")
        .arg(path)
        .args(["--holder", &holder.as_raw_nonzero().to_string()])
        .args(["--mtu", &mtu.to_string()])
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map(drop)
}

/// Ends the keeper, and its program with it.
///
/// # Errors
/// As [`lock::signal_holder`].
pub async fn end(state: &Path) -> io::Result<()> {
    lock::signal_holder(&lock_path(state), Signal::TERM)?;
    ended(state).await
}

/// Waits until there is no keeper.
///
/// # Errors
/// As [`lock::released`].
pub async fn ended(state: &Path) -> io::Result<()> {
    lock::released(&lock_path(state)).await
}

/// The keeper: keeps `program` running until SIGTERM, or the end of the namespaces' holder.
///
/// # Errors
/// When another one runs already, or the holder is not there.
pub fn run(program: Program, path: &Path, holder: i32, mtu: u32) -> io::Result<()> {
    let _lock = lock::acquire(path)?;
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
    let mut pause = BACKOFF.0;
    loop {
        let begun = tokio::time::Instant::now();
        let name = program.name();
        let mut child = program
            .command(holder, mtu)
            .spawn()
            .map_err(|error| about(name, error))?;
        tokio::select! {
            status = child.wait() => tracing::warn!("{name} has ended: {}", status?),
            // Readable: the process has ended (pidfd_open(2)).
            _ = ended.readable() => return child.kill().await,
            _ = terminate.recv() => return child.kill().await,
        }
        if begun.elapsed() > BACKOFF.1 {
            pause = BACKOFF.0;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = ended.readable() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        }
        pause = (pause * 2).min(BACKOFF.1);
    }
}
