//! What runs in a new process before it is the program: system calls only, without allocation or
//! lock, for the process is a copy of one thread of many.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::Signal;

use super::report::Report;
use super::spawn::Plan;

/// Becomes the program, or reports why not.
pub(super) fn become_program(plan: &Plan, report: &OwnedFd) -> ! {
    let failure = match confine(plan, report) {
        Err(error) => Report::NotConfined(error),
        Ok(()) => Report::NotExecuted(execute(plan)),
    };
    // If nobody reads it, nobody waits for it.
    let _ = failure.send(report, None);
    // SAFETY: ends the process at once, running nothing of the parent's.
    unsafe { libc::_exit(127) }
}

/// Executes the program; returns if that fails.
fn execute(plan: &Plan) -> io::Error {
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
}

fn confine(plan: &Plan, report: &OwnedFd) -> io::Result<()> {
    // Ids are the parent's to give; until then this process is nobody.
    match Report::receive(report)? {
        (Report::Mapped, _) => {}
        _ => return Err(Errno::PIPE.into()),
    }
    plan.confinement.enter()?;
    for number in plan.lent() {
        // SAFETY: a descriptor of that number has just been put there.
        let file = unsafe { BorrowedFd::borrow_raw(number) };
        Report::Reopened.send(report, Some(file))?;
    }
    // The kernel forgets this request when ids change.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if owner_is_gone(report)? {
        return Err(Errno::PIPE.into());
    }
    // A file that the host lets grow no further is an error of one write, and not the end of the machine.
    // SAFETY: changes what a signal does to this process, which has one thread; execve(2) keeps what is ignored.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
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
    let listener = plan.confinement.limit()?;
    // From here on the parent decides what is executed. If it has ended, so has the listener, of
    // which no copy may stay here: then nothing is executed.
    Report::Filtered.send(report, Some(std::os::fd::AsFd::as_fd(&listener)))
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
