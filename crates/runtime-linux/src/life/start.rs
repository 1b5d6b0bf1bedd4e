//! From a bundle to a first process that runs.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use container_api::guest_channel::Guest;
use container_api::{Error, Kind};
use container_resource::bundle::{self, Boot, Timeline};
use jiff::Timestamp;
use tokio_util::task::AbortOnDropHandle;

use super::clock;
use super::end::why_lost;
use super::phases::guest_phases;
use super::room;
use crate::container::{Container, answer};
use crate::limits::limit;
use crate::machine::{self, Booted, Machine, Origin, Shares, Standby, Way};
use crate::process::Process;
use crate::request::{given_start_request, idle_request, start_request};
use crate::sockets::HostSockets;
use crate::stdio::{LogFile, Stdio};

/// How long a booted machine waits for the request to start.
const START_TIMEOUT: Duration = limit(60);

/// A container whose first process runs.
#[derive(Debug)]
pub(super) struct Running {
    pub machine: Machine,
    /// Sockets of the host, if it has to do with any.
    pub sockets: Option<HostSockets>,
    pub first: Arc<Process>,
    /// When the first process was started.
    pub at: Timestamp,
    /// Lets the machine go on when the host has room again.
    pub room: AbortOnDropHandle<()>,
    /// Keeps its clock right.
    pub clock: AbortOnDropHandle<()>,
}

pub(super) async fn start(
    container: &Arc<Container>,
    taps: Vec<OwnedFd>,
    standby: Option<Standby>,
    timeline: &mut Timeline,
) -> Result<Running, Error> {
    let boot: Boot = bundle::read_json(&container.bundle.boot())
        .map_err(|error| Error::caused(Kind::Internal, error).context("read boot.json"))?;
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
        sockets,
        room,
    } = tokio::select! {
        booted = machine::boot(&container.host, &container.bundle, &container.configuration, &boot, taps, way, timeline) => booted?,
        () = container.kill_machine.notified() => return Err(stopped_early(container)),
    };
    if let Some(memory) = memory {
        // There is one machine.
        let _ = container.memory.set(memory);
    }
    container.hold_volumes(volumes);
    let kept = room::keep(container.clone(), machine.vm.stalls(), room);
    let room = AbortOnDropHandle::new(tokio::spawn(kept));
    let started = tokio::select! {
        started = first_process(container, &machine.guest, machine.origin, &boot, sockets.as_ref(), timeline) => started,
        exit = machine.vm.wait() => Err(Error::new(Kind::Internal, machine::describe(exit))),
        error = Shares::serve(machine.shares.as_ref(), &machine.guest) => Err(error),
        () = container.kill_machine.notified() => Err(stopped_early(container)),
        error = container.starved() => Err(error),
    };
    match started {
        Ok((first, at)) => {
            let shares = machine.shares.is_some();
            let clock = clock::keep(container.clone(), machine.guest.clone(), shares);
            Ok(Running {
                machine,
                sockets,
                first,
                at,
                room,
                clock: AbortOnDropHandle::new(tokio::spawn(clock)),
            })
        }
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
    boot: &Boot,
    sockets: Option<&HostSockets>,
    timeline: &mut Timeline,
) -> Result<(Arc<Process>, Timestamp), Error> {
    let stdio = request(container).await?;
    let input = stdio.stdin.is_some() || container.options.open_stdin;
    let configuration = &container.configuration;
    let idle = container.idle.load(Ordering::Relaxed);
    let mut request = if idle {
        idle_request(configuration, boot.fills)?
    } else if let Some(spec) = &container.spec {
        given_start_request(configuration, spec, input, stdio.size)?
    } else {
        start_request(configuration, &boot.interfaces, input, stdio.size)?
    };
    request.host_sockets = sockets.map(HostSockets::of_guest).unwrap_or_default();
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
        .map_err(|error| Error::caused(Kind::Internal, error).context("open the log"))?;
    let terminal = configuration.init_process.terminal && !idle;
    let first = Process::follow(guest, &configuration.id, terminal, input, stdio, log)
        .await
        .map_err(|error| Error::caused(Kind::Internal, error).context("connect the process"))?;
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
