//! The last steps before a program runs: streams, limits, user, capabilities, filter.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs;
use std::os::fd::AsRawFd;

use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, chdir, getcwd, set_dumpable_behavior, setsid, umask};
use rustix::thread::{
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::container::create_directory;
use super::executable;
use super::failure::{Context, Failure};
use super::identity::{self, Identity, IdentityError};
use super::plan::ProcessPlan;
use super::rlimits;
use super::seccomp::Filter;
use super::streams::OpenStdio;
use crate::process::Reporter;
use crate::{init, rehearsal};

/// What needs the guest's /proc, so comes before the container is entered. The guest's own program, if that is to be
/// run in the container.
pub fn begin(plan: &ProcessPlan) -> Result<Option<init::Image>, Failure> {
    setsid().context(|| "cannot start a session")?;
    // Until the exec this is a copy of the agent, with its descriptors, and soon without more capabilities than the
    // container's root has: that one must not get at them through /proc.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context(|| "cannot hide from the container")?;
    umask(Mode::empty());
    if let Some(adjustment) = plan.oom_score_adj {
        fs::write("/proc/self/oom_score_adj", adjustment.to_string())
            .context(|| "cannot adjust the out-of-memory score")?;
    }
    (plan.init || plan.rehearsal)
        .then(init::Image::open)
        .transpose()
        .context(|| "cannot open the guest's own program")
}

/// Who the process is to be, by the files of the container as they are seen now.
pub fn identity(plan: &ProcessPlan) -> Result<Identity, IdentityError> {
    match &plan.user {
        Some(user) => identity::named(user, &plan.additional_gids),
        None => identity::numeric(plan.uid, plan.gid, &plan.additional_gids),
    }
}

/// Becomes the program. Returns only if that fails.
pub fn run(
    plan: &ProcessPlan,
    identity: &Identity,
    own: Option<&init::Image>,
    streams: OpenStdio,
    reporter: &Reporter,
) -> Result<Infallible, Failure> {
    let name = plan.args.first().ok_or(Failure::NoArguments)?;
    streams.give_to(identity.uid)?;
    streams.install()?;
    rlimits::apply(&plan.rlimits)?;
    enter_directory(&plan.cwd)?;
    if let Some(capabilities) = &plan.capabilities {
        capabilities.bound()?;
    }
    // Without no_new_privs a filter needs CAP_SYS_ADMIN, which the change of user may take away.
    let (early, late) = match &plan.seccomp {
        Some(filter) if plan.no_new_privileges => (None, Some(filter)),
        filter => (filter.as_ref(), None),
    };
    early.map_or(Ok(()), Filter::install)?;
    become_user(identity)?;
    if let Some(capabilities) = &plan.capabilities {
        capabilities.apply()?;
    }
    if plan.no_new_privileges {
        set_no_new_privs(true).context(|| "cannot give up new privileges")?;
    }
    umask(Mode::from_raw_mode(plan.umask));
    let program = executable::find(name, &plan.path)?;
    let environment = environment(plan, &identity.home);
    restore_signals()?;
    close_on_exec()?;
    late.map_or(Ok(()), Filter::install)?;
    let error = match own {
        Some(image) if plan.rehearsal => image.run_as(&[rehearsal::NAME.into(), program.clone()]),
        Some(image) => image.exec(&program, &plan.args, &environment, reporter),
        None => exec(&program, &plan.args, &environment),
    };
    Err(explain(&program, error))
}

/// Gives the reason in terms of what was asked for.
pub fn explain(program: &CStr, error: Errno) -> Failure {
    let name = program.to_string_lossy().into_owned();
    match error {
        // It was found a moment ago, so what is missing is what it needs.
        Errno::NOENT => Failure::NoInterpreter(name),
        error => executable::refusal(name, error),
    }
}

/// Enters `cwd`, which is made if it is missing.
fn enter_directory(cwd: &str) -> Result<(), Failure> {
    let failed = |source| Failure::WorkingDirectory {
        path: cwd.to_owned(),
        source,
    };
    match chdir(cwd) {
        Err(Errno::NOENT) => {
            create_directory(cwd).map_err(failed)?;
            chdir(cwd).map_err(|error| failed(error.into()))?;
        }
        result => result.map_err(|error| failed(error.into()))?,
    }
    let real = getcwd(Vec::new()).map_err(|error| failed(error.into()))?;
    if real.to_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(Failure::WorkingDirectoryOutside(cwd.to_owned()))
    }
}

fn become_user(identity: &Identity) -> Result<(), Failure> {
    set_keep_capabilities(true).context(|| "cannot keep the capabilities")?;
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    set_thread_groups(&groups).context(|| "cannot set the additional groups")?;
    let gid = Gid::from_raw(identity.gid);
    set_thread_res_gid(gid, gid, gid)
        .context(|| format!("cannot become group {}", identity.gid))?;
    let uid = Uid::from_raw(identity.uid);
    set_thread_res_uid(uid, uid, uid).context(|| format!("cannot become user {}", identity.uid))?;
    set_keep_capabilities(false).context(|| "cannot let go of the capabilities")
}

/// The environment with the user's home, if it has none of its own.
fn environment(plan: &ProcessPlan, home: &str) -> Vec<CString> {
    let home = (!plan
        .env
        .iter()
        .any(|variable| variable.starts_with("HOME=")))
    .then(|| format!("HOME={home}"));
    let all = plan.env.iter().cloned().chain(home);
    // Planning has refused NULs, and lines of passwd that hold one give no home.
    all.filter_map(|variable| CString::new(variable).ok())
        .collect()
}

/// Rust's runtime ignores SIGPIPE; a program expects the default.
pub fn restore_signals() -> Result<(), Failure> {
    // SAFETY: the default action has no handler that could be unsound.
    if unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) } == libc::SIG_ERR {
        return Err(Failure::step(
            "cannot restore SIGPIPE",
            std::io::Error::last_os_error(),
        ));
    }
    Ok(())
}

/// Every descriptor of the agent's closes at exec already; this holds even for one that should not exist.
fn close_on_exec() -> Result<(), Failure> {
    let flags = libc::c_int::try_from(libc::CLOSE_RANGE_CLOEXEC).unwrap_or_default();
    // SAFETY: marking descriptors closes none of them.
    if unsafe { libc::close_range(3, libc::c_uint::MAX, flags) } != 0 {
        return Err(Failure::step(
            "cannot close descriptors",
            std::io::Error::last_os_error(),
        ));
    }
    Ok(())
}

/// execve(2). Returns the reason why not.
pub fn exec(program: &CStr, args: &[CString], environment: &[CString]) -> Errno {
    let args = pointers(args);
    let environment = pointers(environment);
    // SAFETY: the path and both null-terminated arrays of C strings outlive the call.
    unsafe { libc::execve(program.as_ptr(), args.as_ptr(), environment.as_ptr()) };
    last_errno()
}

/// execveat(2) of an open file.
pub fn exec_fd(file: &impl AsRawFd, args: &[CString], environment: &[CString]) -> Errno {
    let args = pointers(args);
    let environment = pointers(environment);
    // SAFETY: as in `exec`; the empty path names the descriptor itself.
    unsafe {
        libc::execveat(
            file.as_raw_fd(),
            c"".as_ptr(),
            args.as_ptr().cast(),
            environment.as_ptr().cast(),
            libc::AT_EMPTY_PATH,
        )
    };
    last_errno()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
