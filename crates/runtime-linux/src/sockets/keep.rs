//! The keeper: a process that holds what its helper must not have, the ways to the host's sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use container_api::{Error, Kind, handover};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use super::bind::{BindError, Leftovers, Published};
use super::datagrams::DatagramPorts;
use super::inet;
use super::look::{Looked, watch};
use super::protocol::{Answer, Ask, Reply, Request};
use super::reach::Reached;

/// How long it may take to connect to a socket of the host: less than the helper waits for an answer.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Connections to a port of the container that may wait.
const BACKLOG: i32 = 128;

/// Serves the helper at the other end of `helper` until that has ended; then the sockets that were published are gone.
///
/// # Errors
/// When the helper says something else than it should.
pub async fn keep(mut helper: UnixStream) -> anyhow::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    let Some((request, _)) = handover::receive::<Request>(&mut helper)
        .await
        .context("read the request")?
    else {
        return Ok(());
    };
    let ports = request.ports;
    let (mut published, targets) = match prepare(request) {
        Ok(prepared) => prepared,
        Err(error) => {
            let answer = Answer::Failed {
                kind: error.kind,
                reason: error.message(),
                hint: error.hint,
            };
            handover::send(&mut helper, &answer, &[]).await?;
            return Ok(());
        }
    };
    let targets: Vec<Arc<Looked>> = targets.into_iter().map(Looked::new).collect();
    let (changes, told) = UnixStream::pair()?;
    let found = targets.iter().map(|target| target.found).collect();
    let ready = Answer::Ready { targets: found };
    handover::send(&mut helper, &ready, &[told.as_fd()]).await?;
    drop(told);
    let changes = Arc::new(Mutex::new(changes));
    for (number, target) in targets.iter().enumerate() {
        tokio::spawn(watch(number, Arc::clone(target), Arc::clone(&changes)));
    }
    // The machine boots meanwhile, and does not wait for this.
    let leftovers: Vec<Leftovers> = published.iter().flat_map(Published::leftovers).collect();
    tokio::task::spawn_blocking(move || leftovers.iter().for_each(Leftovers::remove));
    let mut datagrams = DatagramPorts::default();
    // Its death is an end like any other.
    while let Ok(Some((ask, _))) = handover::receive(&mut helper).await {
        let socket = match ask {
            Ask::Connect(target) => match targets.get(target) {
                Some(target) => target.connect().await.map(Some),
                None => Err(io::ErrorKind::NotFound.into()),
            },
            Ask::Listen(address) if ports => listen(address).map(Some),
            Ask::Datagrams(address) if ports => datagrams.open(address).map(Some),
            Ask::Listen(_) | Ask::Datagrams(_) => Err(io::ErrorKind::PermissionDenied.into()),
            Ask::Shut(address) => {
                datagrams.close(address).await;
                Ok(None)
            }
            Ask::Open(socket) => match published.get(socket) {
                Some(socket) => socket.open().map(Some),
                None => Err(io::ErrorKind::NotFound.into()),
            },
            Ask::Close(socket) => match published.get_mut(socket) {
                Some(socket) => socket.close().map(|()| None),
                None => Err(io::ErrorKind::NotFound.into()),
            },
        };
        let sent = match socket {
            Ok(socket) => {
                let socket = socket.as_ref().map(AsFd::as_fd);
                handover::send(&mut helper, &Reply { error: None }, socket.as_slice()).await
            }
            Err(error) => {
                let error = error.raw_os_error().or(Some(libc::ECONNREFUSED));
                handover::send(&mut helper, &Reply { error }, &[]).await
            }
        };
        if sent.is_err() {
            break;
        }
    }
    Ok(())
}

/// Does `work`, which may hang in a file system, elsewhere. While it hangs nobody else is held up: it is asked for again
/// later, and not begun anew before it has ended.
pub(super) async fn patiently<T: Send + 'static>(
    busy: &Arc<AtomicBool>,
    limit: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    if busy.swap(true, Ordering::Relaxed) {
        return Err(rustix::io::Errno::AGAIN.into());
    }
    let busy = busy.clone();
    let task = tokio::task::spawn_blocking(move || {
        let done = work();
        busy.store(false, Ordering::Relaxed);
        done
    });
    match tokio::time::timeout(limit, task).await {
        Ok(done) => done.unwrap_or_else(|_| Err(rustix::io::Errno::IO.into())),
        Err(_) => Err(rustix::io::Errno::TIMEDOUT.into()),
    }
}

fn prepare(request: Request) -> Result<(Vec<Published>, Vec<Reached>), Error> {
    let targets = request.targets.into_iter().map(|target| {
        Reached::find(target).map_err(|error| Error::caused(kind(&error.source), error))
    });
    let targets = targets.collect::<Result<Vec<_>, _>>()?;
    let published = request.published.iter().map(|socket| {
        Published::at(socket.host_path.as_ref(), socket.permissions).map_err(refused)
    });
    Ok((published.collect::<Result<Vec<_>, _>>()?, targets))
}

/// A socket that listens at `address`; connections inherit that they wait for no more to send.
fn listen(address: SocketAddr) -> io::Result<OwnedFd> {
    use rustix::net::{self, SocketType, sockopt};
    let socket = inet::socket(address, SocketType::STREAM)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn refused(error: BindError) -> Error {
    let (kind, hint) = match &error {
        BindError::Directory { source, .. } => (
            kind(source),
            "The directory of a published socket must exist, and be one that you may write to.",
        ),
        BindError::NoSocket(_) => (
            Kind::Exists,
            "A socket replaces a socket that nobody uses, and nothing else: remove what is there, or choose another path.",
        ),
        BindError::InUse(_) => (
            Kind::Exists,
            "Choose another path, or stop what listens there (`ss -xlp` shows it).",
        ),
        BindError::Path(_) => (Kind::InvalidArgument, "At most 107 bytes, and absolute."),
        BindError::Listen { source, .. } => (
            kind(source),
            "You must be allowed to write to the directory.",
        ),
    };
    Error::caused(kind, error)
        .context("publish a socket")
        .with_hint(hint)
}

fn kind(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::NotFound => Kind::NotFound,
        io::ErrorKind::PermissionDenied => Kind::PermissionDenied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Exhausted,
        _ => Kind::InvalidArgument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_hangs_holds_up_nobody() {
        let (hanging, other) = (Arc::default(), Arc::default());
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let hang = move || {
            let _ = ended.recv();
            Ok(())
        };
        let error = patiently(&hanging, Duration::from_millis(20), hang)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = patiently(&hanging, CONNECT_LIMIT, || Ok(()))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        patiently(&other, CONNECT_LIMIT, || Ok(())).await.unwrap();
        drop(end);
        while hanging.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        patiently(&hanging, CONNECT_LIMIT, || Ok(())).await.unwrap();
    }
}
