//! Starts QEMU's process, and waits until its machine is complete.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use super::arguments::{CommandLine, DeviceStreams, Resources, Source};
use super::binary::Binary;
use super::device::disk::exchange::Backends;
use super::device::nic::Nics;
use super::machine::QemuMachine;
use super::messages::explain;
use super::qmp::Qmp;
use crate::confinement::ceilings::Ceilings;
use crate::confinement::libraries;
use crate::console::BoundedFile;
use crate::engine::StartError;
use crate::process::{self, Program, VmmProcess, loan};
use crate::recorder::{DRAIN_LIMIT, Recorder};
use crate::spec::{Accelerator, VmSpec};
use crate::template;
use crate::vmm::{Conditions, ControlError, Running};

/// A QEMU that has just been started.
#[derive(Debug)]
pub(super) struct Launched {
    process: VmmProcess,
    control: UnixStream,
    channel: UnixStream,
    console: Recorder,
    messages: Recorder,
    /// See [`CommandLine::paused`].
    paused: bool,
    /// See [`CommandLine::state`].
    pub(super) state: Option<RawFd>,
    disks: Backends,
    nics: Nics,
    spawned: Instant,
}

/// Starts `binary` for the machine `spec`, which comes from `source`.
pub(super) fn launch(
    binary: &Binary,
    spec: &VmSpec,
    source: Source,
    console: Option<BoundedFile>,
    conditions: &Conditions,
) -> Result<Launched, StartError> {
    let failed = |source: io::Error| StartError::Spawn {
        path: binary.path.clone(),
        source: source.into(),
    };
    let streams = OpenStreams::new().map_err(failed)?;
    let line = CommandLine::new(
        spec,
        conditions.tsc_khz,
        Resources {
            data: libraries::data(&binary.path),
            source,
            monitor: streams.vmm_monitor,
            streams: streams.vmm,
        },
    )?;
    let spawned = Instant::now();
    let mut loans = line.loans;
    if spec.accelerator == Accelerator::Kvm {
        loans.push(loan::kvm().map_err(failed)?);
    }
    let translates = spec.accelerator == Accelerator::Software;
    let started = process::spawn(Program {
        path: &binary.path,
        arguments: &line.arguments,
        descriptors: &line.descriptors,
        libraries: &binary.libraries,
        loans,
        ceilings: Ceilings::new(
            spec.memory_bytes,
            spec.vcpus.get(),
            translates,
            line.needs.largest_file().max(template::STATE_LIMIT),
        ),
        requests: line.needs.all_requests(),
        starting: line.needs.calls_of_the_start(),
        accept_less: conditions.accept_less,
    })
    .map_err(|source| StartError::Spawn {
        path: binary.path.clone(),
        source,
    })?;
    let messages = pipe::Receiver::from_owned_fd(started.messages).map_err(failed)?;
    Ok(Launched {
        process: started.process,
        control: streams.monitor,
        channel: streams.channel,
        console: Recorder::start(streams.console, console),
        messages: Recorder::start(messages, None),
        paused: line.paused,
        state: line.state,
        disks: line.disks,
        nics: line.nics,
        spawned,
    })
}

impl Launched {
    /// Waits until QEMU answers on its control connection, for at most `limit`, and lets a machine that boots run.
    pub(super) async fn answer(mut self, limit: Duration) -> Result<Answered, StartError> {
        let (process, paused) = (&self.process, self.paused);
        let answered = async {
            let control = Qmp::negotiate(self.control, limit).await?;
            process.machine_runs();
            if paused {
                control.execute("cont", Value::Null, limit).await?;
            }
            Ok(control)
        };
        match answered.await {
            Ok(control) => Ok(Answered {
                machine: QemuMachine {
                    process: self.process,
                    control: Arc::new(control),
                    console: self.console,
                    messages: self.messages,
                    disks: self.disks,
                    nics: self.nics,
                },
                channel: self.channel,
                spawned: self.spawned,
            }),
            Err(error @ ControlError::Timeout { .. }) => Err(StartError::Silent(error)),
            Err(error) => {
                // The connection was closed, so the process is about to end.
                let exit = tokio::time::timeout(DRAIN_LIMIT, async {
                    let status = self.process.wait().await.ok()?;
                    let forbidden = self.process.forbidden();
                    Some(explain(status, forbidden, &mut self.console, &mut self.messages).await)
                });
                match exit.await.ok().flatten() {
                    Some(exit) => Err(StartError::Died(exit.to_string())),
                    None => Err(StartError::Silent(error)),
                }
            }
        }
    }
}

/// A QEMU that has answered.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) machine: QemuMachine,
    channel: UnixStream,
    spawned: Instant,
}

impl From<Answered> for Running {
    fn from(answered: Answered) -> Self {
        Self {
            machine: Box::new(answered.machine),
            channel: answered.channel,
            spawned: answered.spawned,
        }
    }
}

/// Both ends of the streams to QEMU.
#[derive(Debug)]
struct OpenStreams {
    monitor: UnixStream,
    channel: UnixStream,
    console: UnixStream,
    vmm_monitor: OwnedFd,
    vmm: DeviceStreams,
}

impl OpenStreams {
    fn new() -> io::Result<Self> {
        let (monitor, vmm_monitor) = pair()?;
        let (channel, vmm_channel) = pair()?;
        let (console, vmm_console) = pair()?;
        let vmm = DeviceStreams {
            channel: Some(vmm_channel),
            console: Some(vmm_console),
        };
        Ok(Self {
            monitor,
            channel,
            console,
            vmm_monitor,
            vmm,
        })
    }
}

fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    Ok((ours, theirs.into_std()?.into()))
}
