//! The keeper: a process that holds what its helper must not have, the ways to the host's sockets.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::Context;
use container_api::{Error, Kind, handover};
use tokio::net::UnixStream;

use super::bind::{BindError, Published};
use super::protocol::{Answer, Ask, Listener, Reply, Request};
use super::reach::Reached;

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
    let (published, targets) = match prepare(request) {
        Ok(prepared) => prepared,
        Err(error) => {
            let answer = Answer::Failed {
                kind: error.kind,
                reason: error.message,
                hint: error.hint,
            };
            handover::send(&mut helper, &answer, &[]).await?;
            return Ok(());
        }
    };
    let modes = targets.iter().map(|target| target.mode).collect();
    handover::send(&mut helper, &Answer::Ready { modes }, &[]).await?;
    for socket in &published {
        handover::send(&mut helper, &Listener, &[socket.listener.as_fd()]).await?;
    }
    // Its death is an end like any other.
    while let Ok(Some((ask, _))) = handover::receive(&mut helper).await {
        let socket = match ask {
            Ask::Connect(target) => match targets.get(target) {
                Some(target) => target.connect(),
                None => Err(std::io::ErrorKind::NotFound.into()),
            },
            Ask::Listen(address) if ports => listen(address),
            Ask::Listen(_) => Err(std::io::ErrorKind::PermissionDenied.into()),
        };
        let sent = match socket {
            Ok(socket) => {
                handover::send(&mut helper, &Reply { error: None }, &[socket.as_fd()]).await
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

fn prepare(request: Request) -> Result<(Vec<Published>, Vec<Reached>), Error> {
    let targets = request.targets.into_iter().map(|target| {
        Reached::find(target).map_err(|error| Error::chain(kind(&error.source), &error))
    });
    let targets = targets.collect::<Result<Vec<_>, _>>()?;
    let published = request.published.iter().map(|socket| {
        Published::at(socket.host_path.as_ref(), socket.permissions)
            .map_err(|error| refused(&error))
    });
    Ok((published.collect::<Result<Vec<_>, _>>()?, targets))
}

/// A socket that listens at `address`; connections inherit that they wait for no more to send.
fn listen(address: SocketAddr) -> std::io::Result<OwnedFd> {
    use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
    let family = if address.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    sockopt::set_tcp_nodelay(&socket, true)?;
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn refused(error: &BindError) -> Error {
    let (kind, hint) = match error {
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
    Error::chain(kind, error)
        .context("--publish-socket")
        .with_hint(hint)
}

fn kind(error: &std::io::Error) -> Kind {
    match error.kind() {
        std::io::ErrorKind::NotFound => Kind::NotFound,
        std::io::ErrorKind::PermissionDenied => Kind::PermissionDenied,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Kind::Exhausted,
        _ => Kind::InvalidArgument,
    }
}
