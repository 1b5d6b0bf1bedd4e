//! The VMM's process: started with exactly the descriptors it is given, confined, ended with its
//! owner.

mod child;
mod report;
mod spawn;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus};
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

pub(crate) use spawn::spawn;

/// A running process that is killed and reaped when dropped.
#[derive(Debug)]
pub(crate) struct VmmProcess {
    pid: u32,
    pidfd: AsyncFd<OwnedFd>,
    status: Option<ExitStatus>,
    loan: Option<JoinHandle<()>>,
}

/// What to run, and with what.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) path: &'a Path,
    pub(crate) arguments: &'a [OsString],
    /// Open in the program under their present numbers, and no others beside standard error.
    pub(crate) descriptors: &'a [OwnedFd],
    /// Device nodes that the program opens by itself.
    pub(crate) devices: &'a [&'a Path],
    /// Largest file, in bytes, that the program may write.
    pub(crate) file_size: u64,
    /// A memory file that the program borrows: see [`crate::template::loan`].
    pub(crate) memory: Option<File>,
}

/// A started program.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) process: VmmProcess,
    /// Reading end of its standard error and standard output.
    pub(crate) messages: OwnedFd,
}

impl VmmProcess {
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the end of the process. May be called again and cancelled at any time.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        // Becomes readable when the process ends, and stays so.
        let _ended = self.pidfd.readable().await?;
        let status = reap(self.pidfd.get_ref().as_fd())?;
        Ok(*self.status.insert(status))
    }

    /// Sends SIGKILL. Succeeds if the process has already ended.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(self.pidfd.get_ref(), Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for VmmProcess {
    fn drop(&mut self) {
        if let Some(loan) = &self.loan {
            loan.abort();
        }
        if self.status.is_none() {
            // Neither fails for a child that has not been reaped.
            let _ = self.kill();
            let _ = reap(self.pidfd.get_ref().as_fd());
        }
    }
}

/// Waits for a child and removes it from the process table.
fn reap(pidfd: BorrowedFd<'_>) -> io::Result<ExitStatus> {
    let ended = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED)
    })?;
    Ok(exit_status(ended.ok_or(io::ErrorKind::WouldBlock)?))
}

/// The same in the encoding of wait(2).
fn exit_status(ended: WaitIdStatus) -> ExitStatus {
    let code = ended.exit_status().map(|code| code << 8);
    ExitStatus::from_raw(code.or(ended.terminating_signal()).unwrap_or_default())
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
    use std::os::fd::AsRawFd;

    use rustix::io::{FdFlags, fcntl_setfd};

    use super::*;

    fn start(path: &str, arguments: &[&str], descriptors: &[OwnedFd]) -> (VmmProcess, OwnedFd) {
        let path = Path::new(path).canonicalize().unwrap();
        let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        let started = spawn(Program {
            path: &path,
            arguments: &arguments,
            descriptors,
            devices: &[],
            file_size: 1 << 20,
            memory: None,
        });
        let started = started.unwrap();
        (started.process, started.messages)
    }

    fn shell(script: &str, descriptors: &[OwnedFd]) -> (VmmProcess, OwnedFd) {
        start("/bin/sh", &["-c", script], descriptors)
    }

    fn sleep() -> (VmmProcess, OwnedFd) {
        start("/usr/bin/sleep", &["60"], &[])
    }

    async fn output((mut process, messages): (VmmProcess, OwnedFd)) -> String {
        process.wait().await.unwrap();
        let mut text = String::new();
        File::from(messages).read_to_string(&mut text).unwrap();
        text
    }

    /// What a confined script prints. It can't start other programs.
    async fn shell_output(script: &str) -> String {
        output(shell(script, &[])).await
    }

    /// What a Perl expression is, followed by the error of its system calls.
    async fn perl_output(expression: &str) -> String {
        let script = format!("print {expression}, ' ', $!");
        output(start("/usr/bin/perl", &["-e", &script], &[])).await
    }

    /// A shell function that prints what a file begins with.
    const SHOW: &str = "show() { while read -r line; do echo \"$line\"; done <\"$1\"; };";

    #[tokio::test]
    async fn status_and_messages_come_back() {
        let (mut process, stderr) = shell("echo broken >&2; exit 3", &[]);
        assert_eq!(
            describe(process.wait().await.unwrap()),
            "exited with status 3"
        );
        assert_eq!(
            describe(process.wait().await.unwrap()),
            "exited with status 3"
        );
        let mut text = String::new();
        File::from(stderr).read_to_string(&mut text).unwrap();
        assert_eq!(text, "broken\n");
    }

    #[tokio::test]
    async fn a_program_that_cannot_be_executed_is_an_error() {
        let program = |path| Program {
            path: Path::new(path),
            arguments: &[],
            descriptors: &[],
            devices: &[],
            file_size: 0,
            memory: None,
        };
        let error = spawn(program("/usr/bin/nonexistent")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        spawn(program("/usr/lib")).unwrap_err();
    }

    #[tokio::test]
    async fn only_given_descriptors_are_open() {
        let given = OwnedFd::from(File::open("/dev/null").unwrap());
        let leaked = File::open("/dev/null").unwrap();
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
    async fn nothing_foreign_can_be_reached() {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        std::fs::write(&secret, "hush\n").unwrap();
        let secret = secret.display();
        let script = format!(
            "{SHOW} show {secret}; show /etc/passwd; show /etc/shadow; echo /*; echo /etc/*"
        );
        let text = shell_output(&script).await;
        assert!(!text.contains("hush") && !text.contains("root:"), "{text}");
        assert!(text.contains("\n/dev /etc /lib"), "{text}");
        assert!(text.contains("\n/etc/ld.so.cache\n"), "{text}");
        // Nor written to, whoever owns it.
        let text = shell_output("for f in /usr/x /x /dev/x; do echo >$f; done").await;
        assert_eq!(text.matches("Read-only").count(), 3, "{text}");
    }

    #[tokio::test]
    async fn no_power_is_left() {
        let status = shell_output(&format!("{SHOW} show /proc/self/status")).await;
        for line in [
            "CapEff:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            assert!(status.contains(line), "{line} in {status}");
        }
        // No other process is seen, and none but its own can be signalled.
        assert_eq!(shell_output("echo /proc/[0-9]*").await, "/proc/1\n");
        let owner = std::process::id();
        assert!(
            shell_output(&format!("kill -0 {owner} || echo none"))
                .await
                .ends_with("none\n")
        );
        assert_eq!(shell_output("ulimit -c; ulimit -f").await, "0\n2048\n");
    }

    #[tokio::test]
    async fn system_calls_of_no_use_to_it_seem_not_to_be_there() {
        for call in [
            libc::SYS_unshare,
            libc::SYS_mount,
            libc::SYS_socket,
            libc::SYS_io_uring_setup,
            libc::SYS_clone3,
            libc::SYS_vfork,
            libc::SYS_truncate,
            libc::SYS_chmod,
            libc::SYS_kill,
            // `fork` by its number in the x32 ABI.
            0x4000_0000 | libc::SYS_fork,
        ] {
            let text = perl_output(&format!("syscall({call}, 0, 0, 0, 0, 0)")).await;
            assert_eq!(text, "-1 Function not implemented", "{call}");
        }
        // It must not outlive its owner, nor change the limits of others.
        for (call, first) in [
            (libc::SYS_prctl, libc::PR_SET_PDEATHSIG),
            (libc::SYS_prlimit64, 1),
        ] {
            let text = perl_output(&format!("syscall({call}, {first}, 0, 0, 0, 0)")).await;
            assert_eq!(text, "-1 Function not implemented", "{call}");
        }
    }

    #[tokio::test]
    async fn it_stays_the_program_and_the_process_that_it_is() {
        assert_eq!(
            perl_output("fork() // 'none'").await,
            "none Function not implemented"
        );
        assert_eq!(
            perl_output("exec('/usr/bin/true') || 'none'").await,
            "none Function not implemented"
        );
    }

    #[tokio::test]
    async fn without_namespaces_nothing_foreign_can_be_opened_either() {
        let directory = tempfile::tempdir().unwrap();
        let (secret, given) = (
            directory.path().join("secret"),
            directory.path().join("given"),
        );
        std::fs::write(&secret, "hush\n").unwrap();
        std::fs::write(&given, "open\n").unwrap();
        let given = OwnedFd::from(File::open(given).unwrap());
        let script = format!(
            "{SHOW} show {}; show /etc/passwd; show /proc/self/fd/{}; echo >{}",
            secret.display(),
            given.as_raw_fd(),
            directory.path().join("new").display(),
        );
        let path = Path::new("/bin/sh").canonicalize().unwrap();
        let program = Program {
            path: &path,
            arguments: &["-c".into(), script.into()],
            descriptors: &[given],
            devices: &[],
            file_size: 1 << 20,
            memory: None,
        };
        let started = spawn::spawn_with(program, false).unwrap();
        let text = output((started.process, started.messages)).await;
        assert!(text.contains("open\n"), "{text}");
        assert!(!text.contains("hush") && !text.contains("root:"), "{text}");
        assert!(!directory.path().join("new").exists());
    }

    #[tokio::test]
    async fn borrowed_memory_can_be_read_and_not_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let template = directory.path().join("memory");
        std::fs::write(&template, "content\n").unwrap();
        let path = Path::new("/bin/sh").canonicalize().unwrap();
        // As QEMU does, it opens for reading and writing.
        let script = "exec 5<>/template-memory; read -r line <&5; echo $line; echo x >&5 || echo refused; exec true";
        let program = Program {
            path: &path,
            arguments: &["-c".into(), script.into()],
            descriptors: &[],
            devices: &[],
            file_size: 1 << 20,
            memory: Some(File::open(&template).unwrap()),
        };
        let started = spawn(program).unwrap();
        let text = output((started.process, started.messages)).await;
        assert!(text.starts_with("content\n"), "{text}");
        assert!(text.contains("refused\n"), "{text}");
        // Nor does a borrower become another program.
        assert!(text.ends_with("true: Function not implemented\n"), "{text}");
        assert_eq!(std::fs::read_to_string(&template).unwrap(), "content\n");
    }

    #[tokio::test]
    async fn kill_is_reported_as_a_signal() {
        let (mut process, _stderr) = sleep();
        process.kill().unwrap();
        assert_eq!(
            describe(process.wait().await.unwrap()),
            "was killed by signal 9"
        );
        process.kill().unwrap();
    }

    #[tokio::test]
    async fn drop_kills_and_reaps() {
        let (process, _stderr) = sleep();
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
            sender.send(sleep()).unwrap();
        })
        .join()
        .unwrap();
        let (mut process, _stderr) = receiver.recv().unwrap();
        let status = runtime.block_on(process.wait()).unwrap();
        assert_eq!(describe(status), "was killed by signal 9");
    }
}
