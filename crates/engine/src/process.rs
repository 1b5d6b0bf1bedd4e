//! The VMM's process: started with exactly the descriptors it is given, confined, ended with its
//! owner.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use crate::confinement::{self, Confinement};
use crate::template::loan::{self, Loan};

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
    /// A memory file that the program borrows: see [`loan`].
    pub(crate) memory: Option<File>,
}

/// A started program.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) process: VmmProcess,
    /// Reading end of its standard error and standard output.
    pub(crate) messages: OwnedFd,
}

/// Everything that the new process needs, made before it exists.
struct Plan {
    /// Null-terminated, as exec wants it; points into `_words`.
    arguments: Vec<*const libc::c_char>,
    _words: Vec<CString>,
    descriptors: Vec<RawFd>,
    input: OwnedFd,
    stderr: OwnedFd,
    confinement: Confinement,
    namespaces: bool,
    file_size: u64,
    borrows: bool,
}

/// Starts a program.
///
/// It is confined in namespaces, or where the host's administrator has forbidden them, by Landlock
/// alone. The kernel kills
/// it when the calling *thread* ends, so that a killed owner leaves no VM behind: call it on a
/// thread that lives as long as the VM may (a runtime's worker, not `spawn_blocking`).
pub(crate) fn spawn(program: Program<'_>) -> io::Result<Started> {
    spawn_with(program, true)
}

/// With `namespaces` off, the process is confined by other means only.
fn spawn_with(program: Program<'_>, namespaces: bool) -> io::Result<Started> {
    let (messages, their_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut words = vec![c_string(program.path.as_os_str().to_owned())?];
    for argument in program.arguments {
        words.push(c_string(argument.clone())?);
    }
    let mut arguments: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    arguments.push(std::ptr::null());
    let mut plan = Plan {
        arguments,
        _words: words,
        descriptors: program.descriptors.iter().map(AsRawFd::as_raw_fd).collect(),
        input: File::open("/dev/null")?.into(),
        stderr: their_stderr,
        confinement: Confinement::plan(program.path, program.devices)?,
        namespaces,
        file_size: program.file_size,
        borrows: program.memory.is_some(),
    };
    let process = match start(&plan) {
        Err(SpawnError::Confine(error)) => {
            tracing::warn!(%error, "the VMM runs without namespaces of its own");
            plan.namespaces = false;
            start(&plan)
        }
        started => started,
    };
    let (mut process, listener) = process.map_err(|error| match error {
        SpawnError::Confine(error) | SpawnError::Execute(error) => error,
    })?;
    if let Some((listener, memory)) = listener.zip(program.memory) {
        process.loan = Some(tokio::spawn(Loan::new(listener, memory)?.serve()));
    }
    Ok(Started { process, messages })
}

/// Why a program could not be started.
#[derive(Debug)]
enum SpawnError {
    /// The host doesn't give the namespaces.
    Confine(io::Error),
    /// Anything else.
    Execute(io::Error),
}

impl<E: Into<io::Error>> From<E> for SpawnError {
    fn from(error: E) -> Self {
        Self::Execute(error.into())
    }
}

/// Starts the process and waits until it has become the program. The descriptor is what
/// [`loan::install_filter`] gave it.
fn start(plan: &Plan) -> Result<(VmmProcess, Option<OwnedFd>), SpawnError> {
    let flags = SocketFlags::CLOEXEC;
    let (outcome, report) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let process = clone(plan, &report).map_err(|error| {
        if plan.namespaces {
            SpawnError::Confine(error)
        } else {
            SpawnError::Execute(error)
        }
    })?;
    drop(report);
    let mut listener = None;
    loop {
        let (message, descriptor) = Report::receive(&outcome)?;
        match message {
            Report::Executed => return Ok((process, listener)),
            Report::Filtered => listener = descriptor,
            Report::NotConfined(error) => return Err(SpawnError::Confine(error)),
            Report::NotExecuted(error) => return Err(SpawnError::Execute(error)),
        }
    }
}

/// What a new process tells its parent, one message each: two integers.
#[derive(Debug)]
enum Report {
    /// It is the program now: said by the end of the connection.
    Executed,
    /// Its system calls are filtered; a descriptor comes along.
    Filtered,
    /// The host doesn't give the namespaces.
    NotConfined(io::Error),
    /// Anything else.
    NotExecuted(io::Error),
}

impl Report {
    fn receive(connection: &OwnedFd) -> io::Result<(Self, Option<OwnedFd>)> {
        let (mut kind, mut errno) = ([0; 4], [0; 4]);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let mut parts = [IoSliceMut::new(&mut kind), IoSliceMut::new(&mut errno)];
            recvmsg(
                connection,
                &mut parts,
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            )
        })?;
        if received.bytes == 0 {
            return Ok((Self::Executed, None));
        }
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let error = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
        let report = match i32::from_ne_bytes(kind) {
            0 => Self::Filtered,
            1 => Self::NotConfined(error),
            _ => Self::NotExecuted(error),
        };
        Ok((report, descriptor))
    }

    /// Allocates nothing.
    fn send(&self, connection: &OwnedFd, descriptor: Option<&OwnedFd>) -> io::Result<()> {
        let (kind, errno) = match self {
            Self::Executed | Self::Filtered => (0_i32, 0),
            Self::NotConfined(error) => (1, error.raw_os_error().unwrap_or(libc::EINVAL)),
            Self::NotExecuted(error) => (2, error.raw_os_error().unwrap_or(libc::EINVAL)),
        };
        let (kind, errno) = (kind.to_ne_bytes(), errno.to_ne_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = descriptor.map(|descriptor| [descriptor.as_fd()]);
        if let Some(descriptors) = &descriptors {
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let parts = [IoSlice::new(&kind), IoSlice::new(&errno)];
        sendmsg(connection, &parts, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

fn clone(plan: &Plan, report: &OwnedFd) -> io::Result<VmmProcess> {
    let namespaces = if plan.namespaces {
        confinement::NAMESPACES
    } else {
        0
    };
    let flags = libc::c_long::from(namespaces | libc::CLONE_PIDFD | libc::SIGCHLD);
    let mut pidfd: RawFd = -1;
    // SAFETY: without CLONE_VM this is a fork: the child has a copy of everything. It makes system
    // calls only, allocates nothing, takes no lock, and ends in exec or exit.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            flags,
            0_usize,
            &raw mut pidfd,
            0_usize,
            0_usize,
        )
    };
    if pid == 0 {
        become_program(plan, report);
    }
    let pid = u32::try_from(pid).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: clone succeeded, so it opened the descriptor for us.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    // SAFETY: an OwnedFd names the same open descriptor for as long as the AsyncFd owns it.
    match unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) } {
        Ok(pidfd) => Ok(VmmProcess {
            pid,
            pidfd,
            status: None,
            loan: None,
        }),
        Err(error) => {
            let (pidfd, error) = error.into_parts();
            let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
            let _ = reap(pidfd.as_fd());
            Err(error)
        }
    }
}

/// Runs in the new process: becomes the program, or reports why not.
fn become_program(plan: &Plan, report: &OwnedFd) -> ! {
    let entered = if plan.namespaces {
        plan.confinement.enter()
    } else {
        Ok(())
    };
    let failure = match entered {
        Err(error) => Report::NotConfined(error),
        Ok(()) => Report::NotExecuted(execute(plan, report)),
    };
    // If nobody reads it, nobody waits for it.
    let _ = failure.send(report, None);
    // SAFETY: ends the process at once, running nothing of the parent's.
    unsafe { libc::_exit(127) }
}

/// Executes the program; returns if that fails.
fn execute(plan: &Plan, report: &OwnedFd) -> io::Error {
    prepare(plan, report).err().unwrap_or_else(|| {
        let environment: [*const libc::c_char; 1] = [std::ptr::null()];
        // SAFETY: both arrays are null-terminated arrays of C strings that outlive the call.
        unsafe {
            libc::execve(
                plan.arguments[0],
                plan.arguments.as_ptr(),
                environment.as_ptr(),
            );
        }
        io::Error::last_os_error()
    })
}

fn prepare(plan: &Plan, report: &OwnedFd) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if owner_is_gone(report)? {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    rustix::process::setsid()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    rustix::stdio::dup2_stdin(&plan.input)?;
    rustix::stdio::dup2_stdout(&plan.stderr)?;
    rustix::stdio::dup2_stderr(&plan.stderr)?;
    close_on_exec_from(3)?;
    for descriptor in &plan.descriptors {
        // SAFETY: the parent holds the descriptors open until the child has been started.
        let descriptor = unsafe { BorrowedFd::borrow_raw(*descriptor) };
        fcntl_setfd(descriptor, FdFlags::empty())?;
    }
    confinement::limit(plan.file_size)?;
    if !plan.namespaces {
        plan.confinement.restrict(&plan.descriptors)?;
    }
    if plan.borrows {
        // The descriptor closes itself on exec.
        let listener = loan::install_filter()?;
        Report::Filtered.send(report, Some(&listener))?;
        std::mem::forget(listener);
    }
    Ok(())
}

/// Whether the owner died before the request for a signal on its death was in force: then nobody
/// has the other end of the connection any more.
fn owner_is_gone(report: &OwnedFd) -> io::Result<bool> {
    let mut report = [PollFd::new(report, PollFlags::empty())];
    poll(&mut report, Some(&Timespec::default()))?;
    Ok(report[0].revents().contains(PollFlags::HUP))
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

fn c_string(word: OsString) -> io::Result<CString> {
    Ok(CString::new(word.into_vec())?)
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

    use super::*;

    fn shell(script: &str, descriptors: &[OwnedFd]) -> (VmmProcess, OwnedFd) {
        let arguments = ["-c".into(), script.into()];
        let path = Path::new("/bin/sh").canonicalize().unwrap();
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

    /// What a confined script prints.
    async fn output(script: &str) -> String {
        let (mut process, stderr) = shell(script, &[]);
        process.wait().await.unwrap();
        let mut text = String::new();
        File::from(stderr).read_to_string(&mut text).unwrap();
        text
    }

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
        std::fs::write(&secret, "hush").unwrap();
        let secret = secret.display();
        let script = format!("cat {secret} /etc/passwd /etc/shadow; echo /*; echo /etc/*");
        let text = output(&script).await;
        assert!(!text.contains("hush") && !text.contains("root:"), "{text}");
        assert!(text.contains("\n/dev /etc /lib"), "{text}");
        assert!(text.contains("\n/etc/ld.so.cache\n"), "{text}");
        // Nor written to, whoever owns it.
        assert!(
            output("touch /usr/x /x /dev/x")
                .await
                .matches("Read-only")
                .count()
                == 3
        );
    }

    #[tokio::test]
    async fn no_power_is_left() {
        let status = output("cat /proc/self/status").await;
        for line in [
            "CapEff:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "NoNewPrivs:\t1",
        ] {
            assert!(status.contains(line), "{line} in {status}");
        }
        // No other process is seen, and none but its own can be signalled.
        assert_eq!(output("echo /proc/[0-9]*").await, "/proc/1\n");
        let owner = std::process::id();
        assert!(
            output(&format!("kill -0 {owner} || echo none"))
                .await
                .ends_with("none\n")
        );
        assert!(output("mount -t tmpfs none /usr").await.contains("mount"));
        assert_eq!(output("ulimit -c; ulimit -f").await, "0\n2048\n");
    }

    #[tokio::test]
    async fn without_namespaces_nothing_foreign_can_be_opened_either() {
        let directory = tempfile::tempdir().unwrap();
        let (secret, given) = (
            directory.path().join("secret"),
            directory.path().join("given"),
        );
        std::fs::write(&secret, "hush").unwrap();
        std::fs::write(&given, "open").unwrap();
        let given = OwnedFd::from(File::open(given).unwrap());
        let script = format!(
            "cat {} /etc/passwd; cat /proc/self/fd/{}; echo; touch {}; cat /proc/self/status",
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
        let mut started = spawn_with(program, false).unwrap();
        started.process.wait().await.unwrap();
        let mut text = String::new();
        File::from(started.messages)
            .read_to_string(&mut text)
            .unwrap();
        assert!(text.contains("open\n"), "{text}");
        assert!(!text.contains("hush") && !text.contains("root:"), "{text}");
        assert!(!directory.path().join("new").exists());
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
