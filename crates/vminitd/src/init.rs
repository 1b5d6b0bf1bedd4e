//! A small init for containers that ask for one: it runs the program as its child, forwards signals to it and
//! reaps orphans (`--init`). It is this same binary, run from its open file, so the container needs no copy.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, getpid, setpgid, wait};
use rustix::termios::{isatty, tcsetpgrp};

use crate::launch::{Failure, exec, exec_fd, explain, restore_signals};
use crate::process::Reporter;

/// The name by which the binary knows that it is to be a container's init.
pub const NAME: &str = "container-init";

/// This binary, opened while the guest's /proc is visible.
#[derive(Debug)]
pub struct Image(OwnedFd);

impl Image {
    /// Opens the running program.
    pub fn open() -> rustix::io::Result<Self> {
        Ok(Self(open(
            "/proc/self/exe",
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )?))
    }

    /// Becomes the program that `args`, its name first, ask for. Returns only if that fails.
    pub fn run_as(&self, args: &[CString]) -> Errno {
        exec_fd(&self.0, args, &[])
    }

    /// Becomes the init that will run `program`. Returns only if that fails.
    pub fn exec(
        &self,
        program: &CStr,
        args: &[CString],
        environment: &[CString],
        reporter: &Reporter,
    ) -> Errno {
        let report = match reporter.keep_across_exec() {
            Ok(number) => number,
            Err(error) => return error,
        };
        let (Ok(name), Ok(report)) = (CString::new(NAME), CString::new(report.to_string())) else {
            return Errno::INVAL;
        };
        let mut all = vec![name, report, program.to_owned()];
        all.extend_from_slice(args);
        exec_fd(&self.0, &all, environment)
    }
}

/// The init itself. Its arguments: the report's descriptor, the program's path, the program's arguments.
pub fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let report = args.next().and_then(|number| number.to_str()?.parse().ok());
    let rest: Result<Vec<CString>, _> = args.map(|arg| CString::new(arg.into_vec())).collect();
    let (Some(report), Ok(rest)) = (report, rest) else {
        return ExitCode::from(64);
    };
    let Some((program, args)) = rest.split_first() else {
        return ExitCode::from(64);
    };
    // SAFETY: the agent's child left this descriptor to us alone.
    let reporter = unsafe { Reporter::inherit(report) };
    let signals = Signals::block();
    let child = match fork() {
        Ok(Some(child)) => child,
        Ok(None) => {
            reporter.send_failure(&start(program, args, &reporter, &signals));
            // SAFETY: ends the child at once; nothing needs to be flushed.
            unsafe { libc::_exit(127) }
        }
        Err(error) => {
            reporter.send_failure(&Failure::step("cannot start a process", error));
            return ExitCode::from(127);
        }
    };
    drop(reporter);
    ExitCode::from(supervise(child, &signals))
}

/// In the child: a process group of its own, in the terminal's foreground, then the program.
fn start(program: &CStr, args: &[CString], reporter: &Reporter, signals: &Signals) -> Failure {
    let prepared = reporter
        .close_on_exec()
        .and_then(|()| setpgid(None, None))
        .and_then(|()| foreground())
        .and_then(|()| signals.unblock());
    if let Err(error) = prepared {
        return Failure::step("cannot prepare the process", error);
    }
    if let Err(failure) = restore_signals() {
        return failure;
    }
    let environment: Vec<CString> = std::env::vars_os()
        .filter_map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            CString::new(name.into_vec()).ok()
        })
        .collect();
    explain(program, exec(program, args, &environment))
}

fn foreground() -> rustix::io::Result<()> {
    let stdin = rustix::stdio::stdin();
    if isatty(stdin) {
        tcsetpgrp(stdin, getpid())?;
    }
    Ok(())
}

/// Forwards signals and reaps until `child` has ended; its exit code.
fn supervise(child: Pid, signals: &Signals) -> u8 {
    loop {
        let signal = signals.next();
        if signal != libc::SIGCHLD {
            // SAFETY: sends a signal; its group may have ended already, which is no error for us.
            unsafe { libc::kill(-child.as_raw_nonzero().get(), signal) };
            continue;
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == child {
                return exit_code(status);
            }
        }
    }
}

fn exit_code(status: WaitStatus) -> u8 {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    let code = status.exit_status().or(signal).unwrap_or(255);
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// Every signal that can be taken one at a time instead of interrupting.
struct Signals(libc::sigset_t);

impl Signals {
    fn block() -> Self {
        // SAFETY: `sigset_t` is plain data, which sigfillset initialises.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` is a valid set.
        unsafe { libc::sigfillset(&raw mut set) };
        for fault in [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGILL,
            libc::SIGFPE,
            libc::SIGABRT,
        ] {
            // SAFETY: as above.
            unsafe { libc::sigdelset(&raw mut set, fault) };
        }
        for stop in [libc::SIGTTIN, libc::SIGTTOU] {
            // SAFETY: SIG_IGN has no handler that could be unsound; a background init must not be stopped.
            unsafe { libc::signal(stop, libc::SIG_IGN) };
        }
        // SAFETY: `set` is valid and no old set is asked for.
        unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        Self(set)
    }

    fn unblock(&self) -> rustix::io::Result<()> {
        for stop in [libc::SIGTTIN, libc::SIGTTOU] {
            // SAFETY: the default action has no handler.
            unsafe { libc::signal(stop, libc::SIG_DFL) };
        }
        // SAFETY: the set is valid and no old set is asked for.
        let result = unsafe {
            libc::sigprocmask(libc::SIG_UNBLOCK, &raw const self.0, std::ptr::null_mut())
        };
        if result == 0 {
            Ok(())
        } else {
            Err(Errno::INVAL)
        }
    }

    fn next(&self) -> libc::c_int {
        loop {
            // SAFETY: the set is valid and no details are asked for.
            let signal = unsafe { libc::sigwaitinfo(&raw const self.0, std::ptr::null_mut()) };
            if signal > 0 {
                return signal;
            }
        }
    }
}

/// fork(2): the child in `None`.
fn fork() -> rustix::io::Result<Option<Pid>> {
    // SAFETY: this program has one thread.
    match unsafe { libc::fork() } {
        0 => Ok(None),
        pid => Pid::from_raw(pid)
            .filter(|_| pid > 0)
            .map(Some)
            .ok_or_else(|| {
                Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::AGAIN)
            }),
    }
}
