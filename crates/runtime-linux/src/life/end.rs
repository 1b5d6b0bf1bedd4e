//! The end: of the first process, of the machine, of both.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use container_api::guest::ShutdownRequest;
use container_api::guest_channel::Guest;
use container_api::{Error, Kind};
use container_engine::{ConnectError, Vm, VmExit};
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::container::{Container, Leaves, NicRequest};
use crate::limits::limit;
use crate::machine::{self, Machine, Shares};
use crate::process::{Ended, Process};

/// How long the guest may take to unmount, sync and power off, without the time in which the host has no room for that.
const SHUTDOWN_TIMEOUT: Duration = limit(15);
/// How long it may take with that time.
const ROOM_TIMEOUT: Duration = limit(120);

/// Why the guest channel broke: most often the VMM's end is behind it.
pub(super) async fn why_lost(vm: &mut Vm) -> Option<Error> {
    let exit = tokio::time::timeout(machine::LOST_TIMEOUT, vm.wait()).await;
    exit.ok()
        .map(|exit| Error::new(Kind::Internal, machine::describe(exit)))
}

/// Waits for the end of the first process or of the machine, and brings the machine down.
pub(super) async fn wait(container: &Container, machine: Machine, first: &Process) -> (Ended, Vm) {
    let Machine {
        mut vm,
        guest,
        shares,
        ..
    } = machine;
    let mut asked = container.take_nic_requests();
    let served = Shares::serve(shares.as_ref(), &guest);
    let ended = first.ended();
    tokio::pin!(served, ended);
    let ended = loop {
        let request = tokio::select! {
        biased;
        exit = vm.wait() => return (lost(exit), vm),
        () = container.kill_machine.notified() => {
            machine::end(&mut vm).await;
            return (killed(container), vm);
        }
        error = &mut served => {
            // The machine's end is behind it, or the machine has files no more.
            let why = why_lost(&mut vm).await.unwrap_or(error);
            machine::end(&mut vm).await;
            return (Ended::lost(why.message()), vm);
        }
        ended = &mut ended => break ended,
        request = next(asked.as_mut()) => request,
        };
        serve_nics(&mut vm, request).await;
    };
    if ended.reason.is_some() {
        let why = why_lost(&mut vm).await;
        machine::end(&mut vm).await;
        return (why.map_or(ended, |why| Ended::lost(why.message())), vm);
    }
    container.stopping.send_replace(true);
    shut_down(container, guest.clone(), &mut vm).await;
    (ended, vm)
}

/// The machine was ended without its guest.
fn killed(container: &Container) -> Ended {
    let reason = match container.standstill() {
        Some(why) => format!("killed: it stood still, as {}", why.cause()),
        None => "killed: its guest did not obey".to_owned(),
    };
    Ended {
        exit_code: 128 + libc::SIGKILL,
        at: Timestamp::now(),
        oom_killed: false,
        reason: Some(reason),
    }
}

/// What is asked of the machine's NICs next.
async fn next(asked: Option<&mut mpsc::Receiver<NicRequest>>) -> NicRequest {
    let request = match asked {
        Some(asked) => asked.recv().await,
        None => None,
    };
    match request {
        Some(request) => request,
        // Nobody can ask any more.
        None => std::future::pending().await,
    }
}

/// Whoever asked may have gone: then nobody hears the answer.
async fn serve_nics(vm: &mut Vm, request: NicRequest) {
    match request {
        NicRequest::Connect(tap, mtu, reply) => {
            let connected = vm.connect_nic(tap.as_fd(), mtu).await;
            let _ = reply.send(connected.map_err(refused));
        }
        NicRequest::Disconnect(mac, reply) => {
            let disconnected = vm.disconnect_nic(mac).await;
            let _ = reply.send(disconnected.map_err(refused));
        }
    }
}

fn refused(error: ConnectError) -> Error {
    let kind = match error {
        ConnectError::NoSpare => Kind::Unsupported,
        _ => Kind::Internal,
    };
    Error::caused(kind, error)
}

fn lost(exit: std::io::Result<VmExit>) -> Ended {
    Ended::lost(machine::describe(exit))
}

/// Waits until somebody ends a machine that stands still for lack of room.
async fn killed_without_room(container: &Container) {
    loop {
        container.kill_machine.notified().await;
        if container.waits_for_room() {
            return;
        }
    }
}

async fn shut_down(container: &Container, guest: Guest, vm: &mut Vm) {
    let kept = container.idle.load(Ordering::Relaxed) || container.keep.load(Ordering::Relaxed);
    let leaves = if kept {
        Leaves::All
    } else {
        container.leaves()
    };
    if leaves == Leaves::Nothing {
        machine::end(vm).await;
        return;
    }
    let only_volumes = leaves == Leaves::Volumes;
    let orderly = async {
        guest
            .calls()
            .shutdown(ShutdownRequest { only_volumes })
            .await?;
        if only_volumes {
            // What the guest has flushed is in the host's files: no more is wanted of it.
            container.closed.send_replace(true);
            machine::end(vm).await;
            return Ok(None);
        }
        Ok::<_, tonic::Status>(Some(vm.wait().await))
    };
    let done = tokio::select! {
        done = orderly => Some(done),
        () = container.sleep_of_machine(SHUTDOWN_TIMEOUT) => None,
        () = tokio::time::sleep(ROOM_TIMEOUT) => None,
        // Nobody waits for what it has not written.
        () = killed_without_room(container) => None,
    };
    match done {
        Some(Ok(exit)) => {
            if let Some(exit) = exit {
                tracing::debug!("{}", machine::describe(exit));
            }
        }
        Some(Err(status)) => {
            tracing::warn!("the guest did not shut down: {}", Error::of_guest(status));
            machine::end(vm).await;
        }
        None => {
            let why = match container.standstill() {
                Some(why) => why.text(),
                None => format!("it had {} s", SHUTDOWN_TIMEOUT.as_secs()),
            };
            tracing::warn!("the guest did not shut down: {why}");
            machine::end(vm).await;
        }
    }
}
