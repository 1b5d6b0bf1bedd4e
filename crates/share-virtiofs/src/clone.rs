//! A child in namespaces of its own.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

/// Namespaces that the child always has.
const NAMESPACES: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// What a process finds itself to be.
#[derive(Debug)]
pub enum Side {
    /// The one that was there; the child waits for a byte on the pipe, and takes its end for a refusal.
    Parent {
        /// The child, which is the calling process's own.
        child: Pid,
        /// Where it waits.
        pipe: OwnedFd,
    },
    /// The child: the first process of its namespace.
    Child {
        /// Where the parent says that it may go on.
        pipe: OwnedFd,
    },
}

/// Makes the child. The calling process has one thread, so that its copy is whole.
pub fn clone(user_namespace: bool) -> io::Result<Side> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let user = if user_namespace {
        libc::CLONE_NEWUSER
    } else {
        0
    };
    let flags = libc::c_long::from(NAMESPACES | user | libc::SIGCHLD);
    // SAFETY: without CLONE_VM this is a fork of a process with one thread: the child has a copy of everything and may do
    // whatever the parent may.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) };
    if pid == 0 {
        return Ok(Side::Child { pipe: reader });
    }
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    Ok(Side::Parent {
        child: pid.ok_or_else(io::Error::last_os_error)?,
        pipe: writer,
    })
}

/// Has the kernel kill the calling process when its parent ends.
pub fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(
        Signal::KILL,
    ))?)
}

/// Waits for the child's end; the calling process ends in the same way.
pub fn follow(child: Pid) -> io::Result<ExitCode> {
    let ended =
        rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(child), WaitOptions::empty()))?;
    Ok(ended.map_or(ExitCode::FAILURE, |(_, status)| exit_code(status)))
}

fn exit_code(status: WaitStatus) -> ExitCode {
    let signal = status.terminating_signal().map(|signal| signal + 128);
    let code = status.exit_status().or(signal);
    let code = code.and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}
