//! The end: of the first process, of the machine, of both.

use std::sync::atomic::Ordering;
use std::time::Duration;

use container_api::guest::ShutdownRequest;
use container_api::guest_channel::Guest;
use container_api::{Error, Kind};
use container_engine::{Vm, VmExit};
use jiff::Timestamp;

use crate::container::Container;
use crate::limits::limit;
use crate::machine::{self, Machine, Shares};
use crate::process::{Ended, Process};

/// How long the guest may take to unmount, sync and power off.
const SHUTDOWN_TIMEOUT: Duration = limit(15);

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
    let ended = tokio::select! {
        biased;
        exit = vm.wait() => return (lost(exit), vm),
        () = container.kill_machine.notified() => {
            machine::end(&mut vm).await;
            let ended = Ended { exit_code: 128 + libc::SIGKILL, at: Timestamp::now(), oom_killed: false, reason: Some("killed: its guest did not obey".into()) };
            return (ended, vm);
        }
        error = Shares::serve(shares.as_ref(), &guest) => {
            // The machine's end is behind it, or the machine has files no more.
            let why = why_lost(&mut vm).await.unwrap_or(error);
            machine::end(&mut vm).await;
            return (Ended::lost(why.message()), vm);
        }
        ended = first.ended() => ended,
    };
    if ended.reason.is_some() {
        let why = why_lost(&mut vm).await;
        machine::end(&mut vm).await;
        return (why.map_or(ended, |why| Ended::lost(why.message())), vm);
    }
    container.stopping.send_replace(true);
    shut_down(container, guest, &mut vm).await;
    (ended, vm)
}

fn lost(exit: std::io::Result<VmExit>) -> Ended {
    Ended::lost(machine::describe(exit))
}

async fn shut_down(container: &Container, guest: Guest, vm: &mut Vm) {
    let idle = container.idle.load(Ordering::Relaxed);
    if container.leaves_nothing() && !idle && !container.keep.load(Ordering::Relaxed) {
        machine::end(vm).await;
        return;
    }
    let orderly = async {
        guest.calls().shutdown(ShutdownRequest {}).await?;
        Ok::<_, tonic::Status>(vm.wait().await)
    };
    match tokio::time::timeout(SHUTDOWN_TIMEOUT, orderly).await {
        Ok(Ok(exit)) => tracing::debug!("{}", machine::describe(exit)),
        Ok(Err(status)) => {
            tracing::warn!("the guest did not shut down: {}", Error::of_guest(status));
            machine::end(vm).await;
        }
        Err(_) => {
            tracing::warn!(
                "the guest did not shut down within {} s",
                SHUTDOWN_TIMEOUT.as_secs()
            );
            machine::end(vm).await;
        }
    }
}
