//! Whether somebody listens at the sockets of the host that a container reaches.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use container_api::handover;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, Notify};

use super::keep::{CONNECT_LIMIT, patiently};
use super::protocol::{Change, Found};
use super::reach::Reached;

/// How often it is looked whether somebody listens at a target: that a listener goes is no event. A look costs some microseconds.
const PERIOD: Duration = Duration::from_millis(250);
/// How long a directory is left alone in which something has come: there may be much that does.
const SETTLE: Duration = Duration::from_millis(5);

/// A target, and who is busy with it.
#[derive(Debug)]
pub struct Looked {
    target: Arc<Reached>,
    connecting: Arc<AtomicBool>,
    looking: Arc<AtomicBool>,
    /// As it was at first.
    pub found: Found,
    /// It has refused a connection, so it is to be looked at.
    refused: Notify,
}

impl Looked {
    /// Looks at it for the first time.
    pub fn new(target: Reached) -> Arc<Self> {
        let found = Found {
            mode: target.mode,
            listening: target.listens(),
        };
        Arc::new(Self {
            target: Arc::new(target),
            connecting: Arc::default(),
            looking: Arc::default(),
            found,
            refused: Notify::new(),
        })
    }

    /// A connection to it.
    pub async fn connect(&self) -> io::Result<OwnedFd> {
        let target = Arc::clone(&self.target);
        let connected = patiently(&self.connecting, CONNECT_LIMIT, move || target.connect()).await;
        if connected.is_err() {
            self.refused.notify_one();
        }
        connected
    }
}

/// Tells whenever somebody begins or ceases to listen at the target of this `number`. What hangs in a file system is as it was.
pub async fn watch(number: usize, target: Arc<Looked>, changes: Arc<Mutex<UnixStream>>) {
    let mut listening = target.found.listening;
    let arrivals = target.target.directory().and_then(Arrivals::below);
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = target.refused.notified() => {}
            () = next(arrivals.as_ref()) => tokio::time::sleep(SETTLE).await,
        }
        let looked = Arc::clone(&target.target);
        let look = move || Ok(looked.listens());
        match patiently(&target.looking, CONNECT_LIMIT, look).await {
            Ok(found) if found != listening => listening = found,
            _ => continue,
        }
        let change = Change {
            target: number,
            listening,
        };
        let mut changes = changes.lock().await;
        if handover::send(&mut changes, &change, &[]).await.is_err() {
            return;
        }
    }
}

/// What comes into a directory: a socket that is made anew, or a link to another one.
struct Arrivals(AsyncFd<OwnedFd>);

impl Arrivals {
    /// Nothing where it cannot be watched: then it is looked often enough.
    fn below(directory: &Path) -> Option<Self> {
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        let what = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ATTRIB;
        inotify::add_watch(&watch, directory, what).ok()?;
        // SAFETY: an OwnedFd names one open description as long as it lives.
        let watch = unsafe { AsyncFd::register_with_interest(watch, Interest::READABLE) };
        watch.ok().map(Self)
    }

    async fn next(&self) -> io::Result<()> {
        let mut events = [0; 4096];
        loop {
            let mut ready = self.0.readable().await?;
            match rustix::io::read(&self.0, &mut events) {
                Ok(_) => return Ok(()),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

async fn next(arrivals: Option<&Arrivals>) {
    match arrivals {
        Some(arrivals) if arrivals.next().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::Target;
    use super::*;

    #[tokio::test]
    async fn who_begins_and_ceases_to_listen_is_told_of() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().canonicalize().unwrap().join("s");
        let bind = || std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(bind());
        let target = Target::Mounted { path: path.clone() };
        let target = Looked::new(Reached::find(target).unwrap());
        assert!(!target.found.listening);
        let (changes, mut told) = UnixStream::pair().unwrap();
        tokio::spawn(watch(3, target, Arc::new(Mutex::new(changes))));
        for _ in 0..2 {
            std::fs::remove_file(&path).unwrap();
            let mut listener = Some(bind());
            for listening in [true, false] {
                let (change, _) = handover::receive::<Change>(&mut told)
                    .await
                    .unwrap()
                    .unwrap();
                assert_eq!((change.target, change.listening), (3, listening));
                listener = None;
            }
            assert!(listener.is_none());
        }
    }
}
