//! The VMM's process: started with exactly the descriptors it is given, ended with its owner.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A running process that is killed and reaped when dropped.
#[derive(Debug)]
pub(crate) struct VmmProcess {
    child: Child,
    pidfd: AsyncFd<OwnedFd>,
}

/// Starts `program` in a session of its own, with `descriptors` open under their present numbers
/// and no others beside standard error, which the returned pipe captures.
///
/// The kernel kills the process when the calling *thread* ends, so that a killed owner leaves no
/// VM behind: call it on a thread that lives as long as the VM may (a runtime's worker, not
/// `spawn_blocking`).
pub(crate) fn spawn(
    program: &Path,
    arguments: &[OsString],
    descriptors: &[OwnedFd],
) -> io::Result<(VmmProcess, ChildStderr)> {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let owner = rustix::process::getpid();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    // SAFETY: the closure runs between fork and exec. It makes system calls only, allocates
    // nothing and takes no lock.
    unsafe {
        command.pre_exec(move || prepare(owner, &numbers));
    }
    let mut child = command.spawn()?;
    let stderr = child.stderr.take();
    let watched = watch(&child);
    match (watched, stderr) {
        (Ok(pidfd), Some(stderr)) => Ok((VmmProcess { child, pidfd }, stderr)),
        (watched, _) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(watched
                .err()
                .unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()))
        }
    }
}

/// Runs in the new process, before the program.
fn prepare(owner: Pid, descriptors: &[RawFd]) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(owner) {
        // The owner died before the request above was in force.
        return Err(io::ErrorKind::NotFound.into());
    }
    rustix::process::setsid()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    close_on_exec_from(3)?;
    for descriptor in descriptors {
        // SAFETY: the parent holds the descriptors open until the child has been started.
        let descriptor = unsafe { std::os::fd::BorrowedFd::borrow_raw(*descriptor) };
        fcntl_setfd(descriptor, FdFlags::empty())?;
    }
    Ok(())
}

/// Marks every descriptor from `first` on to be closed by exec, whoever opened it.
fn close_on_exec_from(first: libc::c_uint) -> io::Result<()> {
    // SAFETY: close_range with CLOSE_RANGE_CLOEXEC takes three integers and closes nothing yet.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn watch(child: &Child) -> io::Result<AsyncFd<OwnedFd>> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    // SAFETY: an OwnedFd names the same open descriptor for as long as the AsyncFd owns it.
    Ok(unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?)
}

impl VmmProcess {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of the process. May be called again and cancelled at any time.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        // Becomes readable when the process ends, and stays so.
        let _ended = self.pidfd.readable().await?;
        self.child.wait()
    }

    /// Sends SIGKILL. Succeeds if the process has already ended.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(self.pidfd.get_ref(), Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for VmmProcess {
    fn drop(&mut self) {
        // Both fail only when the process has been reaped, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Describes how a process ended: "exited with status 1", "was killed by signal 9".
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn shell(script: &str, descriptors: &[OwnedFd]) -> (VmmProcess, ChildStderr) {
        let arguments = ["-c".into(), script.into()];
        spawn(Path::new("/bin/sh"), &arguments, descriptors).unwrap()
    }

    #[tokio::test]
    async fn status_and_stderr_come_back() {
        let (mut process, mut stderr) = shell("echo broken >&2; exit 3", &[]);
        assert_eq!(
            describe(process.wait().await.unwrap()),
            "exited with status 3"
        );
        assert_eq!(
            describe(process.wait().await.unwrap()),
            "exited with status 3"
        );
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        assert_eq!(text, "broken\n");
    }

    #[tokio::test]
    async fn only_given_descriptors_are_open() {
        let given = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let leaked = std::fs::File::open("/dev/null").unwrap();
        // As if an ancestor had left it open for us.
        fcntl_setfd(&leaked, FdFlags::empty()).unwrap();
        let script = format!(
            "test -e /proc/self/fd/{} && ! test -e /proc/self/fd/{}",
            given.as_raw_fd(),
            leaked.as_raw_fd()
        );
        let (mut process, _stderr) = shell(&script, &[given]);
        assert!(process.wait().await.unwrap().success());
    }

    #[tokio::test]
    async fn kill_is_reported_as_a_signal() {
        let (mut process, _stderr) = shell("exec sleep 60", &[]);
        process.kill().unwrap();
        assert_eq!(
            describe(process.wait().await.unwrap()),
            "was killed by signal 9"
        );
        process.kill().unwrap();
    }

    #[tokio::test]
    async fn drop_kills_and_reaps() {
        let (process, _stderr) = shell("exec sleep 60", &[]);
        let path = format!("/proc/{}", process.pid());
        assert!(Path::new(&path).exists());
        drop(process);
        assert!(!Path::new(&path).exists());
    }

    #[test]
    fn the_process_dies_with_the_thread_that_started_it() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        std::thread::spawn(move || {
            let _guard = handle.enter();
            sender.send(shell("exec sleep 60", &[])).unwrap();
        })
        .join()
        .unwrap();
        let (mut process, _stderr) = receiver.recv().unwrap();
        let status = runtime.block_on(process.wait()).unwrap();
        assert_eq!(describe(status), "was killed by signal 9");
    }
}
