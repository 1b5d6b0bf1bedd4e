//! The helper before it has a container: it waits with a machine for the one that comes.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use anyhow::Context;
use container_api::handover::{self, Assignment, Ready, Taken};
use tokio::net::UnixStream;

use crate::machine::Standby;

/// The container that has come.
#[derive(Debug)]
pub struct Assigned {
    /// Which one it is.
    pub assignment: Assignment,
    /// Its sockets, as [`container_api::inherited::listeners`] gives them.
    pub listeners: [UnixListener; 2],
    /// Its log.
    pub log: OwnedFd,
    /// Its machine.
    pub standby: Standby,
    /// Where [`tell_taken`] is to be said.
    pub apiserver: UnixStream,
}

/// Prepares a machine as asked on standard input, and waits there for its container. Nothing when nobody has one: the
/// apiserver has ended, or prefers another machine.
pub async fn wait() -> anyhow::Result<Option<Assigned>> {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let stream = std::os::unix::net::UnixStream::from(stdin);
    stream.set_nonblocking(true)?;
    let mut stream = UnixStream::from_std(stream).context("standard input is no socket")?;
    // The taps of the request's interfaces travel beside it.
    let Some((request, taps)) = handover::receive(&mut stream)
        .await
        .context("read the request")?
    else {
        return Ok(None);
    };
    let mut standby = tokio::select! {
        standby = Standby::prepare(&request, taps) => standby.context("prepare a machine")?,
        // Nothing is said before we are ready: this is the end.
        _ = handover::receive::<Assignment>(&mut stream) => return Ok(None),
    };
    let template = standby.template().to_owned();
    handover::send(&mut stream, &Ready { template }, &[])
        .await
        .context("tell that the machine waits")?;
    let received = tokio::select! {
        received = handover::receive(&mut stream) => received.context("read the assignment")?,
        lost = standby.stand() => return Err(lost.into()),
    };
    let Some((assignment, descriptors)) = received else {
        return Ok(None);
    };
    let descriptors: [OwnedFd; 3] = descriptors
        .try_into()
        .map_err(|_| anyhow::anyhow!("the assignment came without its descriptors"))?;
    let [main, handed, log] = descriptors;
    Ok(Some(Assigned {
        assignment,
        listeners: [main.into(), handed.into()],
        log,
        standby,
        apiserver: stream,
    }))
}

/// Tells the apiserver that the container's lock is held.
pub async fn tell_taken(mut apiserver: UnixStream) {
    // It may have ended: the next one adopts a container that has a helper.
    let _ = handover::send(&mut apiserver, &Taken, &[]).await;
}
