//! The container's life: boot, start, wait, shut down, and say how it ended.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use container_api::guest::{ShutdownRequest, SignalRequest, Timeline as GuestTimeline};
use container_api::guest_channel::Guest;
use container_api::{Error, Kind};
use container_engine::{Vm, VmExit};
use container_resource::bundle::{self, Boot, Exit, Interface, Timeline};
use jiff::Timestamp;

use crate::container::{Container, Stage, Started, answer};
use crate::machine::{self, Booted, Machine, Origin, Shares, Standby, Way};
use crate::process::{Ended, Process};
use crate::request::{idle_request, start_request};
use crate::stdio::{LogFile, Stdio};

/// How long a booted machine waits for the request to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the guest may take to unmount, sync and power off.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a machine is kept for a container's files while nobody does anything with them. Whoever asked for it ends it earlier.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// Lives the container's life, in the machine `standby` if that fits; returns when its machine is gone and `exit.json` is
/// written.
pub async fn live(container: &Arc<Container>, taps: Vec<OwnedFd>, standby: Option<Standby>) {
    let mut timeline = Timeline::default();
    timeline.reached("helper started");
    let started = start(container, taps, standby, &mut timeline).await;
    write_timeline(container, &timeline);
    match started {
        Ok((machine, first, at)) => {
            let template_wanted = matches!(
                machine.origin,
                Origin::Cold {
                    template_wanted: true,
                    ..
                }
            );
            container.stage.send_replace(Stage::Running {
                guest: machine.guest.clone(),
                first: first.clone(),
                started: Arc::new(Started {
                    at,
                    timeline: timeline.clone(),
                    template_wanted,
                }),
            });
            if container.idle.load(Ordering::Relaxed) {
                tokio::spawn(end_unused(Arc::downgrade(container)));
            }
            let (ended, vm) = wait(container, machine, &first).await;
            drop(vm);
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
            record(container, None, &Ended::lost(error.message.clone()));
            container.stage.send_replace(Stage::Failed(error));
        }
    }
}

/// Ends the machine of a container of which nothing runs when whoever wanted its files has gone.
async fn end_unused(container: Weak<Container>) {
    loop {
        let Some(container) = container.upgrade() else {
            return;
        };
        let was_busy = container.is_busy();
        let guest = container.guest();
        let name = container.configuration.id.clone();
        drop(container);
        tokio::time::sleep(IDLE_LIMIT).await;
        let Ok(guest) = guest else { return };
        if !was_busy {
            let request = SignalRequest {
                process: name,
                signal: libc::SIGKILL,
                all: false,
            };
            // It may be on its way out already.
            let _ = guest.calls().signal(request).await;
        }
    }
}

async fn start(
    container: &Container,
    taps: Vec<OwnedFd>,
    standby: Option<Standby>,
    timeline: &mut Timeline,
) -> Result<(Machine, Arc<Process>, Timestamp), Error> {
    let boot: Boot = bundle::read_json(&container.bundle.boot())
        .map_err(|error| Error::chain(Kind::Internal, &error).context("read boot.json"))?;
    container.idle.store(boot.idle, Ordering::Relaxed);
    timeline.phases.insert(
        0,
        bundle::Phase {
            name: "start requested".into(),
            at_us: boot.requested_us,
        },
    );
    let way = if container.options.no_template {
        Way::Cold
    } else {
        standby.map_or(Way::Template, |standby| Way::Standby(Box::new(standby)))
    };
    let Booted {
        mut machine,
        memory,
        volumes,
    } = tokio::select! {
        booted = machine::boot(&container.bundle, &container.configuration, &boot, taps, way, timeline) => booted?,
        () = container.kill_machine.notified() => return Err(stopped_early(container)),
    };
    if let Some(memory) = memory {
        // There is one machine.
        let _ = container.memory.set(memory);
    }
    container.hold_volumes(volumes);
    let started = tokio::select! {
        started = first_process(container, &machine.guest, machine.origin, &boot.interfaces, timeline) => started,
        exit = machine.vm.wait() => Err(Error::new(Kind::Internal, machine::describe(exit))),
        error = Shares::lost(machine.shares.as_ref()) => Err(error),
        () = container.kill_machine.notified() => Err(stopped_early(container)),
    };
    match started {
        Ok((first, at)) => Ok((machine, first, at)),
        Err(error) => {
            let error = match error.kind {
                Kind::Unavailable => why_lost(&mut machine.vm).await.unwrap_or(error),
                _ => error,
            };
            machine::end(&mut machine.vm).await;
            Err(error)
        }
    }
}

/// Why the guest channel broke: most often the VMM's end is behind it.
async fn why_lost(vm: &mut Vm) -> Option<Error> {
    let exit = tokio::time::timeout(machine::LOST_TIMEOUT, vm.wait()).await;
    exit.ok()
        .map(|exit| Error::new(Kind::Internal, machine::describe(exit)))
}

fn stopped_early(container: &Container) -> Error {
    Error::new(
        Kind::Cancelled,
        format!(
            "container {} was stopped while it started",
            container.configuration.id
        ),
    )
}

async fn first_process(
    container: &Container,
    guest: &Guest,
    origin: Origin,
    interfaces: &[Interface],
    timeline: &mut Timeline,
) -> Result<(Arc<Process>, Timestamp), Error> {
    let stdio = request(container).await?;
    let input = stdio.stdin.is_some() || container.options.open_stdin;
    let configuration = &container.configuration;
    let idle = container.idle.load(Ordering::Relaxed);
    let mut request = if idle {
        idle_request(configuration)?
    } else {
        start_request(configuration, interfaces, input, stdio.size)?
    };
    request.late_devices = origin.late_devices();
    let sent = Timestamp::now();
    timeline.reached_at("start sent", sent.as_microsecond());
    let reply = answer(guest.calls().start(request)).await?;
    let started = Timestamp::now();
    guest_phases(
        timeline,
        sent.as_microsecond(),
        origin,
        reply.timeline.as_ref(),
    );
    timeline.reached_at("start answered", started.as_microsecond());
    let log = (!idle).then(|| LogFile::open(&container.bundle.stdio_log()));
    let log = log
        .transpose()
        .map_err(|error| Error::chain(Kind::Internal, &error).context("open the log"))?;
    let terminal = configuration.init_process.terminal && !idle;
    let first = Process::follow(guest, &configuration.id, terminal, input, stdio, log)
        .await
        .map_err(|error| Error::chain(Kind::Internal, &error).context("connect the process"))?;
    Ok((first, started))
}

/// Waits for the client's streams.
async fn request(container: &Container) -> Result<Stdio, Error> {
    let asked = async {
        loop {
            container.start_asked.notified().await;
            // Left as `Some`, so that a second request does not count.
            let taken = container
                .start
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_mut()
                .map(std::mem::take);
            if let Some(stdio) = taken {
                return stdio;
            }
        }
    };
    tokio::time::timeout(START_TIMEOUT, asked)
        .await
        .map_err(|_| {
            Error::new(
                Kind::Timeout,
                "nobody asked for the container to be started",
            )
        })
}

/// A start that takes longer is none, in microseconds.
const MAX_DISTANCE_US: i64 = 60 * 60 * 1_000_000;

/// The guest's own moments, on the host's clock: it read its clock when the request came.
fn guest_phases(
    timeline: &mut Timeline,
    sent_us: i64,
    origin: Origin,
    reported: Option<&GuestTimeline>,
) {
    let Some(reported) = reported else { return };
    let mut reached = |name, boot_ns| {
        let before = i128::from(reported.request_ns) - i128::from(boot_ns);
        // A guest can say anything. What is no moment near this start is left out.
        let Some(at_us) = i64::try_from(before / 1000)
            .ok()
            .filter(|before| before.abs() <= MAX_DISTANCE_US)
            .and_then(|before| sent_us.checked_sub(before))
        else {
            return;
        };
        timeline.reached_at(name, at_us);
    };
    if let Origin::Cold { hello, .. } = origin {
        reached("kernel entered", 0);
        reached("PID 1", hello.pid1_ns);
    }
    reached("root mounted", reported.root_mounted_ns);
    reached("process started", reported.process_started_ns);
    timeline.phases.sort_by_key(|phase| phase.at_us);
}

/// Waits for the end of the first process or of the machine, and brings the machine down.
async fn wait(container: &Container, machine: Machine, first: &Process) -> (Ended, Vm) {
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
        error = Shares::lost(shares.as_ref()) => {
            // The machine's end is behind it, or the machine has files no more.
            let why = why_lost(&mut vm).await.unwrap_or(error);
            machine::end(&mut vm).await;
            return (Ended::lost(why.message), vm);
        }
        ended = first.ended() => ended,
    };
    if ended.reason.is_some() {
        let why = why_lost(&mut vm).await;
        machine::end(&mut vm).await;
        return (why.map_or(ended, |why| Ended::lost(why.message)), vm);
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

fn write_timeline(container: &Container, timeline: &Timeline) {
    write(container, "timeline", || {
        bundle::write_json(&container.bundle.timeline(), timeline)
    });
}

fn record(container: &Container, started: Option<Timestamp>, ended: &Ended) {
    let exit = Exit {
        exit_code: ended.exit_code,
        started,
        exited: ended.at,
        reason: ended.reason.clone(),
        oom_killed: ended.oom_killed,
        by_hand: false,
    };
    write(container, "exit", || {
        bundle::write_json(&container.bundle.exit(), &exit)
    });
}

/// A record that cannot be written (the disk is full, the bundle was moved away to be deleted) is told of,
/// and the life goes on.
fn write(container: &Container, what: &str, write: impl FnOnce() -> std::io::Result<()>) {
    // Of a container of which nothing runs there is nothing to record.
    if container.idle.load(Ordering::Relaxed) {
        return;
    }
    if let Err(error) = write() {
        tracing::warn!(
            "container {}: cannot write {what}.json: {error}",
            container.configuration.id
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use container_api::hello::Hello;

    #[test]
    fn moments_that_a_guest_made_up_are_not_told() {
        let now = Timestamp::now().as_microsecond();
        let origin = |pid1_ns| Origin::Cold {
            hello: Hello {
                pid1_ns,
                channel_open_ns: 0,
            },
            template_wanted: false,
        };
        let phases = |origin, reported: &GuestTimeline| {
            let mut timeline = Timeline::default();
            timeline.reached_at("start requested", now - 1_000_000);
            guest_phases(&mut timeline, now - 1000, origin, Some(reported));
            let names = timeline.phases.iter().map(|phase| phase.name.clone());
            names.collect::<Vec<_>>().join(", ")
        };
        let mut reported = GuestTimeline {
            request_ns: 500_000_000,
            root_mounted_ns: 500_400_000,
            process_started_ns: 500_800_000,
            ..GuestTimeline::default()
        };
        assert_eq!(
            phases(origin(100_000_000), &reported),
            "start requested, kernel entered, PID 1, root mounted, process started"
        );
        reported.root_mounted_ns = u64::MAX;
        reported.process_started_ns = 0;
        assert_eq!(
            phases(origin(u64::MAX), &reported),
            "start requested, kernel entered, process started"
        );
        reported.request_ns = u64::MAX;
        assert_eq!(
            phases(origin(0), &reported),
            "start requested, root mounted"
        );
    }
}
