//! Whether somebody listens at the sockets of the host that a container reaches.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use container_api::arrivals::Arrivals;
use container_api::handover;
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
    let directory = target.target.directory();
    // Where it cannot be watched it is looked often enough.
    let arrivals = directory.and_then(|directory| Arrivals::of_anything(directory).ok());
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
