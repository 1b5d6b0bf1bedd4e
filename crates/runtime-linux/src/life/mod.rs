//! The container's life: boot, start, wait, shut down, and say how it ended.

mod clock;
mod end;
mod idle;
mod phases;
mod record;
mod room;
mod start;
#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use container_resource::bundle::Timeline;

use crate::container::{Container, Stage, Started};
use crate::machine::Standby;
use crate::process::Ended;
use end::wait;
use idle::end_unused;
use record::{record, write_timeline};
use start::{Running, start};

/// Lives the container's life, in the machine `standby` if that fits; returns when its machine is gone and `exit.json` is
/// written.
pub async fn live(container: &Arc<Container>, taps: Vec<OwnedFd>, standby: Option<Standby>) {
    let mut timeline = Timeline::default();
    timeline.reached("helper started");
    let started = start(container, taps, standby, &mut timeline).await;
    write_timeline(container, &timeline);
    match started {
        Ok(Running {
            machine,
            mut sockets,
            first,
            at,
            room,
            clock,
        }) => {
            container.stage.send_replace(Stage::Running {
                guest: machine.guest.clone(),
                first: first.clone(),
                started: Arc::new(Started {
                    at,
                    timeline: timeline.clone(),
                    origin: machine.origin,
                }),
            });
            if let Some(sockets) = &mut sockets {
                sockets.serve(&machine.guest, &first);
            }
            if container.idle.load(Ordering::Relaxed) {
                tokio::spawn(end_unused(Arc::downgrade(container)));
            }
            let (ended, vm) = wait(container, machine, &first).await;
            drop((vm, room, clock));
            if let Some(sockets) = sockets {
                sockets.end().await;
            }
            if let Some(at) = first.first_byte() {
                timeline.reached_at("first byte", at.as_microsecond());
            }
            timeline.reached_at("process exited", ended.at.as_microsecond());
            timeline.reached("machine gone");
            write_timeline(container, &timeline);
            record(container, Some(at), &ended);
            container.stage.send_replace(Stage::Stopped(ended));
        }
        Err(error) => {
            record(container, None, &Ended::lost(error.message().clone()));
            container.stage.send_replace(Stage::Failed(error));
        }
    }
}
