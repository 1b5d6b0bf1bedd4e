//! Makes a new process, with everything that it needs prepared before it exists.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::calls::{Answer, Calls};
use super::child::become_program;
use super::loan::Loan;
use super::report::Report;
use super::supervisor::Supervisor;
use super::{Program, Started, VmmProcess, reap};
use crate::confinement::ceilings::Ceilings;
use crate::confinement::cgroup::Cgroup;
use crate::confinement::identity::Identity;
use crate::confinement::{self, Confinement, Isolation};

/// Why a program could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The host has no way to confine it.
    #[error("this host cannot confine a VMM: {}", list(.0))]
    NotConfined(Vec<(&'static str, io::Error)>),
    /// It could not be executed, or not be prepared.
    #[error(transparent)]
    Execute(#[from] io::Error),
}

fn list(attempts: &[(&'static str, io::Error)]) -> String {
    let attempts = attempts.iter();
    let texts: Vec<_> = attempts
        .map(|(what, why)| format!("{what}: {why}"))
        .collect();
    texts.join("; ")
}

/// Everything that the new process needs, made before it exists.
pub(super) struct Plan {
    /// Null-terminated, as exec wants it; points into `_words`.
    pub(super) arguments: Vec<*const libc::c_char>,
    _words: Vec<CString>,
    pub(super) descriptors: Vec<RawFd>,
    pub(super) input: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) confinement: Confinement,
    isolation: Isolation,
}

impl Plan {
    /// Numbers of the files that the process opens again for its parent to lend. It keeps the others itself.
    pub(super) fn lent(&self) -> impl Iterator<Item = RawFd> {
        let numbers = self.confinement.reopened();
        numbers.filter(|number| !self.descriptors.contains(number))
    }
}

/// Starts a program, confined as well as the host can.
///
/// The kernel kills it when the calling *thread* ends, so that a killed owner leaves no VM
/// behind: call it on a thread that lives as long as the VM may (a runtime's worker, not
/// `spawn_blocking`).
pub(crate) fn spawn(program: Program<'_>) -> Result<Started, SpawnError> {
    let mut refused = Vec::new();
    let Program {
        accept_less, loans, ..
    } = &program;
    debug_assert!(loans.iter().all(|loan| loan.number() > 2));
    for (isolation, identity) in confinement::attempts(*accept_less) {
        let (messages, stderr) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        let plan = plan(&program, isolation, identity, stderr)?;
        match start(&plan, &program.ceilings) {
            Ok(executed) => return supervise(executed, &plan, program, messages),
            Err(Failure::Confine(error)) => refused.push((isolation.name(), error)),
            Err(Failure::Execute(error)) => return Err(error.into()),
        }
        tracing::debug!(?refused, "the host does not confine a VMM this way");
    }
    Err(SpawnError::NotConfined(refused))
}

fn plan(
    program: &Program<'_>,
    isolation: Isolation,
    identity: Identity,
    stderr: OwnedFd,
) -> io::Result<Plan> {
    let mut words = vec![c_string(program.path.as_os_str().to_owned())?];
    for argument in program.arguments {
        words.push(c_string(argument.clone())?);
    }
    let mut arguments: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    arguments.push(std::ptr::null());
    let descriptors: Vec<_> = program.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    // What is lent is prepared as what is given is, though the process gets it later.
    let mut files = descriptors.clone();
    files.extend(program.loans.iter().map(Loan::number));
    let lent = program.loans.iter().any(Loan::keeps_its_pages);
    let confinement = Confinement::plan(
        isolation,
        identity,
        program.libraries,
        &files,
        program.ceilings,
        program.requests,
        lent,
    )?;
    Ok(Plan {
        arguments,
        _words: words,
        descriptors,
        input: File::open("/dev/null")?.into(),
        stderr,
        confinement,
        isolation,
    })
}

/// A process that is the program, and what came from it on its way.
struct Executed {
    process: VmmProcess,
    calls: Calls,
    /// Files that it opened again, in the order of [`Plan::lent`].
    reopened: Vec<OwnedFd>,
}

/// Hands the process's system calls to somebody who decides about them.
fn supervise(
    executed: Executed,
    plan: &Plan,
    program: Program<'_>,
    messages: OwnedFd,
) -> Result<Started, SpawnError> {
    let Executed {
        process,
        calls,
        reopened,
    } = executed;
    let mut loans = program.loans;
    for (number, file) in plan.lent().zip(reopened) {
        if let Some(loan) = loans.iter_mut().find(|loan| loan.number() == number) {
            loan.replace(file);
        }
    }
    let supervisor = Supervisor {
        calls,
        loans,
        state: Arc::clone(&process.state),
        process: process.pidfd.get_ref().try_clone()?,
        pid: process.pid,
        threads: program.ceilings.threads,
        starting: program.starting.to_vec(),
        sees_paths: !plan.isolation.has_own_root(),
    };
    // Ends with the process.
    std::thread::Builder::new()
        .name("VMM's calls".to_owned())
        .spawn(|| supervisor.serve())?;
    Ok(Started {
        process,
        messages,
        isolation: plan.isolation,
        identity: plan.confinement.identity.clone(),
    })
}

/// Why a process did not become the program.
#[derive(Debug)]
enum Failure {
    /// The host does not let it be confined this way.
    Confine(io::Error),
    /// Anything else.
    Execute(io::Error),
}

impl<E: Into<io::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Execute(error.into())
    }
}

/// Starts the process and waits until it has become the program.
fn start(plan: &Plan, ceilings: &Ceilings) -> Result<Executed, Failure> {
    let flags = SocketFlags::CLOEXEC;
    let (outcome, report) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let mut process = clone(plan, &report, &outcome).map_err(Failure::Confine)?;
    drop(report);
    let cgroup = Cgroup::make(ceilings)
        .inspect_err(|error| tracing::debug!(%error, "the VMM has no cgroup of its own"))
        .ok();
    if let Some(cgroup) = &cgroup {
        cgroup.admit(process.pid())?;
    }
    process.cgroup = cgroup;
    let identity = &plan.confinement.identity;
    identity
        .write_maps(process.pid())
        .map_err(Failure::Confine)?;
    Report::Mapped.send(&outcome, None)?;
    let (mut calls, mut reopened) = (None, Vec::new());
    loop {
        let (message, descriptor) = Report::receive(&outcome)?;
        match (message, descriptor) {
            (Report::Reopened, Some(file)) => reopened.push(file),
            (Report::Filtered, Some(listener)) => {
                let listener = Calls::new(listener);
                // It asks for its program, unless it has ended.
                if let Some(call) = listener.next(Some(outcome.as_fd()))? {
                    listener.answer(&call, Answer::Continue)?;
                }
                calls = Some(listener);
            }
            (Report::Executed, _) => {
                let calls = calls.ok_or(io::ErrorKind::UnexpectedEof)?;
                return Ok(Executed {
                    process,
                    calls,
                    reopened,
                });
            }
            (Report::NotConfined(error), _) => return Err(Failure::Confine(error)),
            (Report::NotExecuted(error), _) => return Err(Failure::Execute(error)),
            _ => return Err(Failure::Execute(io::ErrorKind::InvalidData.into())),
        }
    }
}

fn clone(plan: &Plan, report: &OwnedFd, outcome: &OwnedFd) -> io::Result<VmmProcess> {
    let namespaces = plan.isolation.flags();
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
        // SAFETY: this is the child's copy, of which nothing here makes use. Without it the end of the
        // connection tells of the parent's end.
        unsafe { rustix::io::close(outcome.as_raw_fd()) };
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
            state: Arc::default(),
            cgroup: None,
        }),
        Err(error) => {
            let (pidfd, error) = error.into_parts();
            let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
            let _ = reap(pidfd.as_fd());
            Err(error)
        }
    }
}

fn c_string(word: OsString) -> io::Result<CString> {
    Ok(CString::new(word.into_vec())?)
}
