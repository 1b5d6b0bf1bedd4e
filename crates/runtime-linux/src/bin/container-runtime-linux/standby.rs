//! `standby`: the helper before it has a container. It waits with a machine for the one that comes.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use anyhow::Context;
use container_api::handover::{self, Assignment, Ready, Taken};
use container_api::inherited;
use container_api::request::RequestId;
use container_resource::bundle::Bundle;
use container_runtime_linux::Standby;
use tokio::net::UnixStream;

use crate::{helper, tokio_runtime};

/// The container that has come.
#[derive(Debug)]
struct Assigned {
    assignment: Assignment,
    /// Its sockets, as [`container_api::inherited::listeners`] gives them.
    listeners: [UnixListener; 2],
    log: OwnedFd,
    standby: Standby,
    /// Where [`tell_taken`] is to be said.
    apiserver: UnixStream,
}

/// Waits with a machine, and runs the container that comes to its end.
pub fn run() -> anyhow::Result<()> {
    let runtime = tokio_runtime()?;
    let Some(assigned) = runtime.block_on(wait())? else {
        return Ok(());
    };
    let Assignment {
        bundle,
        id,
        request,
    } = assigned.assignment;
    if let Some(Ok(request)) = request.map(|text| text.parse::<RequestId>()) {
        request.own();
    }
    let bundle = Bundle::new(bundle);
    let _lock = helper::claim(&bundle, &id)?;
    runtime.block_on(tell_taken(assigned.apiserver));
    rustix::stdio::dup2_stdin(&File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(&assigned.log)?;
    rustix::stdio::dup2_stderr(&assigned.log)?;
    drop(assigned.log);
    let standby = Some(assigned.standby);
    helper::host(runtime, bundle, assigned.listeners, Vec::new(), standby)
}

/// Prepares a machine as asked on standard input, and waits there for its container. Nothing when nobody has one: the
/// apiserver has ended, or prefers another machine.
async fn wait() -> anyhow::Result<Option<Assigned>> {
    let mut stream = inherited::stdin_socket().context("standard input is no socket")?;
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
async fn tell_taken(mut apiserver: UnixStream) {
    // It may have ended: the next one adopts a container that has a helper.
    let _ = handover::send(&mut apiserver, &Taken, &[]).await;
}
