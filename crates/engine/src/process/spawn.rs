//! Makes a new process, with everything that it needs prepared before it exists.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::child::become_program;
use super::report::Report;
use super::{Program, Started, VmmProcess, reap};
use crate::confinement::calls::Calls;
use crate::confinement::{self, Confinement};
use crate::template::loan::Loan;

/// Everything that the new process needs, made before it exists.
pub(super) struct Plan {
    /// Null-terminated, as exec wants it; points into `_words`.
    pub(super) arguments: Vec<*const libc::c_char>,
    _words: Vec<CString>,
    pub(super) descriptors: Vec<RawFd>,
    pub(super) input: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) confinement: Confinement,
    pub(super) namespaces: bool,
    pub(super) file_size: u64,
    pub(super) borrows: bool,
}

/// Starts a program.
///
/// It is confined in namespaces, or where the host's administrator has forbidden them, by Landlock
/// alone. The kernel kills it when the calling *thread* ends, so that a killed owner leaves no VM
/// behind: call it on a thread that lives as long as the VM may (a runtime's worker, not
/// `spawn_blocking`).
pub(crate) fn spawn(program: Program<'_>) -> io::Result<Started> {
    spawn_with(program, true)
}

/// With `namespaces` off, the process is confined by other means only.
pub(super) fn spawn_with(program: Program<'_>, namespaces: bool) -> io::Result<Started> {
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
    let (mut process, calls) = process.map_err(|error| match error {
        SpawnError::Confine(error) | SpawnError::Execute(error) => error,
    })?;
    match (calls, program.memory) {
        (Some(calls), Some(memory)) => {
            process.loan = Some(tokio::spawn(Loan::new(calls, memory)?.serve()));
        }
        // There is nothing to answer: the end of the calls refuses the rest.
        (Some(_), None) => {}
        (None, _) => tracing::warn!("the VMM is not kept from executing programs"),
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

/// Starts the process and waits until it has become the program. The calls are those that are left
/// to answer; there are none where the host has no listener to give.
fn start(plan: &Plan) -> Result<(VmmProcess, Option<Calls>), SpawnError> {
    let flags = SocketFlags::CLOEXEC;
    let (outcome, report) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let process = clone(plan, &report, &outcome).map_err(|error| {
        if plan.namespaces {
            SpawnError::Confine(error)
        } else {
            SpawnError::Execute(error)
        }
    })?;
    drop(report);
    let mut calls = None;
    loop {
        let (message, descriptor) = Report::receive(&outcome)?;
        match message {
            Report::Executed => return Ok((process, calls)),
            Report::Filtered => {
                calls = descriptor.map(Calls::new);
                if let Some(calls) = &calls {
                    calls.allow_program(&outcome)?;
                }
            }
            Report::NotConfined(error) => return Err(SpawnError::Confine(error)),
            Report::NotExecuted(error) => return Err(SpawnError::Execute(error)),
        }
    }
}

fn clone(plan: &Plan, report: &OwnedFd, outcome: &OwnedFd) -> io::Result<VmmProcess> {
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

fn c_string(word: OsString) -> io::Result<CString> {
    Ok(CString::new(word.into_vec())?)
}
