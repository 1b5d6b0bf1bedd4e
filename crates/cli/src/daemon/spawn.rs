use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use container_api::arrivals::Arrivals;
use container_api::inherited::READY_VARIABLE;
use container_api::lock;
use container_api::roots::Roots;
use rustix::fs::Mode;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use super::{Order, is_running};
use crate::failure::Failure;

/// How long an apiserver that does not serve may take to end.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Bytes of the log that are shown of an apiserver that died.
const LOG_TAIL: u64 = 4096;
/// Variables that services inherit, beside those with one of [`PREFIXES`]: where things are, how the network is
/// reached, how messages are written. Others are the user's own business.
const INHERITED: [&str; 20] = [
    "HOME",
    "USER",
    "LOGNAME",
    "PATH",
    "TMPDIR",
    "LANG",
    "TZ",
    "RUST_BACKTRACE",
    "DBUS_SESSION_BUS_ADDRESS",
    "DOCKER_CONFIG",
    "REGISTRY_AUTH_FILE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];
const PREFIXES: [&str; 2] = ["CONTAINER_", "XDG_"];
/// Those of them that may name a file from where the user stands; a service stands elsewhere.
const PATHS: [&str; 4] = [
    "DOCKER_CONFIG",
    "REGISTRY_AUTH_FILE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Starts the apiserver and waits until it serves.
pub async fn start(roots: &Roots, order: &Order) -> Result<(), Failure> {
    let timeout = order.timeout;
    let log_path = roots.log.join("apiserver.log");
    let mut log = container_files::log(&log_path)
        .with_context(|| format!("log file {}", log_path.display()))?;
    let begin = log.seek(SeekFrom::End(0)).context("log file")?;
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).context("make a pipe")?;
    let mut child = spawn(roots, order, &log, writer)?;
    let mut ready = pipe::Receiver::from_owned_fd(reader).context("wait for the service")?;
    let mut answer = [0];
    match tokio::time::timeout(timeout, ready.read(&mut answer)).await {
        Ok(Ok(1)) => Ok(()),
        // Another one may have been faster, and this one given way to it.
        Ok(_) if another_serves(roots, timeout).await => Ok(()),
        Ok(_) => {
            // It is ending: its last words come behind the end of the pipe.
            let _ = tokio::time::timeout(LAST_WORDS, child.wait()).await;
            let said = said_since(&mut log, begin).unwrap_or_default();
            Err(anyhow::anyhow!("the container system service did not start{said}").into())
        }
        Err(_) => {
            // We started it, so we end it: half a service is of no use.
            let leader = child.id().and_then(|id| i32::try_from(id).ok());
            if let Some(group) = leader.and_then(Pid::from_raw) {
                // Gone by itself is as good.
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait().await;
            let said = said_since(&mut log, begin).unwrap_or_default();
            let seconds = timeout.as_secs();
            Err(anyhow::anyhow!(
                "the container system service does not answer after {seconds} s{said}"
            )
            .into())
        }
    }
}

/// Whether another apiserver serves, now or when it has come so far.
async fn another_serves(roots: &Roots, limit: Duration) -> bool {
    let Ok(arrivals) = Arrivals::below(&roots.runtime) else {
        return is_running(roots).await;
    };
    let serves = async {
        while !is_running(roots).await {
            if arrivals.next().await.is_err() {
                return false;
            }
        }
        true
    };
    let lock = roots.apiserver_lock();
    let found = async {
        tokio::select! {
            // First: one that has just begun to serve has the lock.
            biased;
            serves = serves => serves,
            // The lock is free: there is no process.
            _ = lock::released(&lock) => false,
        }
    };
    tokio::time::timeout(limit, found).await.unwrap_or(false)
}

/// The apiserver in a session of its own, with nothing of this process but its log and `ready`.
fn spawn(
    roots: &Roots,
    order: &Order,
    log: &File,
    ready: OwnedFd,
) -> Result<tokio::process::Child, Failure> {
    let program = roots.install.join("bin/container-apiserver");
    let mut command = Command::new(&program);
    command.arg("start");
    command.arg("--app-root").arg(&roots.app);
    command.arg("--install-root").arg(&roots.install);
    if roots.log_is_named {
        command.arg("--log-root").arg(&roots.log);
    }
    if let Some(word) = order.vmm_confinement {
        command.arg("--vmm-confinement").arg(word);
    }
    if order.debug {
        command.arg("--debug");
    }
    command.env_clear().envs(environment(std::env::vars_os()));
    command.env(READY_VARIABLE, ready.as_raw_fd().to_string());
    command.current_dir("/").stdin(Stdio::null());
    let output = || log.try_clone().context("log file");
    command.stdout(output()?).stderr(output()?);
    // The one descriptor that the new program keeps, by its number; this process has no other thread that could
    // start a program meanwhile.
    keep_none().context("close what was inherited")?;
    rustix::io::fcntl_setfd(&ready, rustix::io::FdFlags::empty()).context("make a pipe")?;
    let detach = || {
        rustix::process::setsid()?;
        rustix::process::umask(Mode::from_raw_mode(0o077));
        Ok(())
    };
    // SAFETY: the closure makes two system calls and touches no memory of the parent.
    unsafe { command.pre_exec(detach) };
    let child = tokio::process::Command::from(command).spawn();
    // From here on only the service holds it: its death closes the pipe.
    drop(ready);
    Ok(child.with_context(|| format!("start {}", program.display()))?)
}

/// The caller of this command may have left descriptors open (locks, pipes) that a daemon must not hold: none beyond standard error
/// outlives the start of another program.
fn keep_none() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(number) = number.filter(|number: &RawFd| *number > 2) else {
            continue;
        };
        // SAFETY: the kernel has just listed it as open, and setting a flag takes it from nobody. The one that
        // the list itself is read with is closed only after the loop.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC)?;
    }
    Ok(())
}

fn environment(all: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    all.filter(|(name, _)| {
        let name = name.to_string_lossy();
        INHERITED.contains(&name.as_ref()) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    })
    .map(|(name, value)| {
        let is_path = PATHS.iter().any(|path| name == *path);
        // Fails only for an empty one, which means nothing.
        match std::path::absolute(&value) {
            Ok(path) if is_path => (name, path.into_os_string()),
            _ => (name, value),
        }
    })
    .collect()
}

/// The end of what the apiserver wrote to its log since then, on lines of its own.
fn said_since(log: &mut File, begin: u64) -> io::Result<String> {
    let end = log.seek(SeekFrom::End(0))?;
    log.seek(SeekFrom::Start(begin.max(end.saturating_sub(LOG_TAIL))))?;
    let mut bytes = Vec::new();
    log.take(LOG_TAIL).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_end();
    Ok(if text.is_empty() {
        String::new()
    } else {
        format!("; it said:\n{text}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_inherit_only_what_concerns_them() {
        let pair = |name: &str| (OsString::from(name), OsString::from("x"));
        let all = [
            "PATH",
            "CONTAINER_APP_ROOT",
            "XDG_DATA_HOME",
            "https_proxy",
            "REGISTRY_AUTH_FILE",
            "CONTAINER_REGISTRY_TOKEN",
            "AWS_SECRET_KEY",
            "LD_PRELOAD",
        ];
        let kept = environment(all.into_iter().map(pair));
        let names: Vec<_> = kept
            .iter()
            .map(|(name, _)| name.to_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "PATH",
                "CONTAINER_APP_ROOT",
                "XDG_DATA_HOME",
                "https_proxy",
                "REGISTRY_AUTH_FILE",
                "CONTAINER_REGISTRY_TOKEN"
            ]
        );
    }

    #[test]
    fn what_was_said_is_the_end_of_the_log() {
        let mut log = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut log, b"before\nreason\n").unwrap();
        assert_eq!(said_since(&mut log, 7).unwrap(), "; it said:\nreason");
        assert_eq!(said_since(&mut log, 14).unwrap(), "");
    }
}
