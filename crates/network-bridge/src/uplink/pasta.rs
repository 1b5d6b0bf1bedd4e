//! The way out without root: the program `pasta` (package passt), which makes every connection of the network one of its own
//! on the host.
//!
//! A process of this program keeps it running, and outlives the network's process: it is found by its lock.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use container_api::lock;
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};

use crate::links::UPLINK;

/// Addresses of the way out in the network's namespace, which nobody else has: RFC 7335, and RFC 8215.
const IPV4: [&str; 3] = ["192.0.0.2", "29", "192.0.0.1"];
const IPV6: [&str; 2] = ["64:ff9b:1:fffe::2", "fe80::1"];
/// The first and the longest pause before it is started again: without a route of the host's it ends at once.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Where its keeper's lock is in the network's directory.
fn lock_path(state: &Path) -> PathBuf {
    state.join("uplink.lock")
}

/// An option that came with the year 2024. Older ones, Debian 12's among them, repeat parts of streams on kernels of today.
const NEEDED: &str = "--map-host-loopback";

/// Why there is no way out.
#[derive(Debug, thiserror::Error)]
pub enum PastaError {
    /// Not there, or it can't be run.
    #[error("cannot run pasta (package passt)")]
    Run(#[source] io::Error),
    /// Too old.
    #[error(
        "this host's pasta (package passt) is too old: one of 2024 or later is needed, as those before it damage streams"
    )]
    Old,
}

/// Whether this host's pasta can be used.
///
/// # Errors
/// When it can't.
pub fn check() -> Result<(), PastaError> {
    let help = std::process::Command::new("pasta")
        .arg("--help")
        .stdin(Stdio::null())
        .output()
        .map_err(PastaError::Run)?;
    let words = [help.stdout, help.stderr].concat();
    if String::from_utf8_lossy(&words).contains(NEEDED) {
        Ok(())
    } else {
        Err(PastaError::Old)
    }
}

/// Starts the keeper of a way out for the namespaces of `holder`, unless there is one.
///
/// # Errors
/// When it can't be started.
pub fn start(state: &Path, holder: Pid, mtu: u32) -> Result<(), PastaError> {
    let path = lock_path(state);
    if lock::holder(&path).map_err(PastaError::Run)?.is_some() {
        return Ok(());
    }
    check()?;
    let program = std::env::current_exe().map_err(PastaError::Run)?;
    std::process::Command::new(program)
        .arg("uplink")
        .arg("--lock")
        .arg(path)
        .args(["--holder", &holder.as_raw_nonzero().to_string()])
        .args(["--mtu", &mtu.to_string()])
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map(drop)
        .map_err(PastaError::Run)
}

/// Ends the keeper, and pasta with it.
///
/// # Errors
/// As [`lock::signal_holder`].
pub async fn end(state: &Path) -> io::Result<()> {
    let path = lock_path(state);
    lock::signal_holder(&path, Signal::TERM)?;
    lock::released(&path).await
}

/// The program: keeps pasta running until SIGTERM, or the end of the namespaces' holder.
///
/// # Errors
/// When another one runs already, or the holder is not there.
pub fn run(path: &Path, holder: i32, mtu: u32) -> io::Result<()> {
    let _lock = lock::acquire(path)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(keep(holder, mtu))
}

async fn keep(holder: i32, mtu: u32) -> io::Result<()> {
    let pid = Pid::from_raw(holder).ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    // SAFETY: an OwnedFd names one open description as long as it lives.
    let ended = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE)? };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut pause = BACKOFF.0;
    loop {
        let begun = tokio::time::Instant::now();
        let mut child = pasta(holder, mtu).spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("pasta (package passt): {error}"))
        })?;
        tokio::select! {
            status = child.wait() => tracing::warn!("pasta has ended: {}", status?),
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

/// pasta(1). Nothing of the host's is reached by its gateway, and no port is open in either direction: those are ours.
fn pasta(holder: i32, mtu: u32) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("pasta");
    command
        .args(["--foreground", "--quiet", "--config-net", "--no-map-gw"])
        .args(["--ns-ifname", UPLINK, "--mtu", &mtu.to_string()])
        .args([
            "--address",
            IPV4[0],
            "--netmask",
            IPV4[1],
            "--gateway",
            IPV4[2],
        ])
        .args(["--address", IPV6[0], "--gateway", IPV6[1]])
        .args(["-t", "none", "-u", "none", "-T", "none", "-U", "none"])
        .arg(holder.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // It repeats its whole configuration there, and that it finds no system log.
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}
