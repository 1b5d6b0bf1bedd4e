//! The process that keeps a network's namespace when nobody else is in it.
//!
//! A namespace lives as long as something is in it. The holder is, does nothing, and outlives the network's process: so
//! bridge, taps and rules stay when that one is killed, and the next one finds them. The holder is found by its lock, and ends
//! when that is removed: nobody could find it any more.

use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

use container_api::chain::about;
use container_api::lock;
use container_isolation::user_namespace;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal};
use rustix::thread::UnshareFlags;
use tokio::process::Command;

use super::handle::Namespaces;
use crate::ready;

/// Where the holder's lock is in the network's directory.
pub fn lock_path(state: &Path) -> PathBuf {
    state.join("namespace.lock")
}

/// The holder of the network's namespace, if there is one.
///
/// # Errors
/// As [`lock::holder`].
pub fn find(state: &Path) -> io::Result<Option<Pid>> {
    lock::holder(&lock_path(state))
}

/// Which namespace a holder is to keep.
#[derive(Clone, Copy, Debug)]
pub enum Kept<'n> {
    /// A new one.
    New,
    /// A new one, in a user namespace of its own, in which this user is root.
    NewOfUser,
    /// One that is there, and has lost its holder.
    Present(&'n Namespaces),
}

/// Starts a holder.
///
/// # Errors
/// When it can't be started, or can't have the namespace; the error says what the holder said.
pub async fn start(state: &Path, kept: Kept<'_>) -> io::Result<Pid> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("hold").arg("--lock").arg(lock_path(state));
    match kept {
        Kept::New => {}
        Kept::NewOfUser => {
            command.arg("--user-namespace");
        }
        Kept::Present(namespaces) => {
            let [user, network] = namespaces.paths();
            command.args(["--user", &user, "--network", &network]);
        }
    }
    let started = ready::start(command).await;
    let _child = started.map_err(|error| about("cannot make a network namespace", error))?;
    // The number of a child that was not waited for is its own.
    find(state)?.ok_or_else(|| io::Error::other("the holder of the namespace has ended"))
}

/// Ends the holder, and the namespace with it unless a machine still has a tap of it.
///
/// # Errors
/// As [`lock::signal_holder`].
pub async fn end(state: &Path) -> io::Result<()> {
    let path = lock_path(state);
    lock::signal_holder(&path, Signal::KILL)?;
    lock::released(&path).await
}

/// How a holder has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its network's directory was removed.
    Abandoned,
    /// It was killed.
    Killed,
}

/// Waits until the holder has ended.
///
/// # Errors
/// When it can't be watched.
pub async fn ended(state: &Path) -> io::Result<End> {
    let path = lock_path(state);
    lock::released(&path).await?;
    Ok(if path.exists() {
        End::Killed
    } else {
        End::Abandoned
    })
}

/// The program: makes the namespace or enters the `present` one, says so, and stays until its lock is removed.
pub fn run(lock: &Path, user_namespace: bool, present: Option<Namespaces>) -> io::Result<()> {
    let made = match present {
        Some(namespaces) => namespaces.enter().and_then(|()| lock::acquire(lock)),
        None => hold(lock, user_namespace),
    };
    let _lock = ready::say(made)?;
    if let Err(error) = removal(lock) {
        // A user has so many watches and no more; the network can still be ended by those who know it.
        tracing::debug!("the lock is not watched: {error:#}");
        loop {
            std::thread::park();
        }
    }
    Ok(())
}

/// Returns when the file at `path` is removed, wherever it is by then.
fn removal(path: &Path) -> io::Result<()> {
    // Not to read: a descriptor that can would release the lock when it is closed.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let watch = inotify::init(CreateFlags::CLOEXEC)?;
    inotify::add_watch(&watch, path, WatchFlags::ATTRIB)?;
    let mut buffer = [MaybeUninit::uninit(); 512];
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    while rustix::fs::fstat(&file)?.st_nlink > 0 {
        events.next()?;
    }
    Ok(())
}

fn hold(lock: &Path, is_user_s: bool) -> io::Result<lock::Lock> {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let mut flags = UnshareFlags::NEWNET;
    if is_user_s {
        flags |= UnshareFlags::NEWUSER;
    }
    // SAFETY: this process has one thread, and no descriptor table or working directory is unshared.
    unsafe { rustix::thread::unshare_unsafe(flags)? };
    if is_user_s {
        let own = [user.as_raw(), group.as_raw()];
        user_namespace::map_own(Path::new("/proc/self"), 0, own)?;
    }
    lock::acquire(lock)
}
