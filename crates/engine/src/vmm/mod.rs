//! The seam between the engine and a VMM: what each of them brings, and nothing that only one of them knows.
//!
//! The engine checks and opens what a machine is made of, names templates and keeps them. A VMM makes a machine of that and
//! controls it. What it lacks it states ([`Capabilities`]), and the engine does without.

mod capabilities;
mod error;
mod stalls;

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::net::UnixStream;

use crate::confinement::cgroup::Allowance;
use crate::console::BoundedFile;
use crate::device::{Device, Disk, MacAddress};
use crate::engine::StartError;
use crate::exit::VmExit;
use crate::identity::FileIdentity;
use crate::saving::RestoreError;
use crate::spec::{Accelerator, VmSpec};
pub use capabilities::Capabilities;
pub use error::{ConnectError, ControlError, ExchangeError, FindVmmError};
pub(crate) use stalls::{Count, Retry};
pub use stalls::{Refusal, Stalls};

/// What the machine boots.
#[derive(Debug)]
pub(crate) struct Boot {
    /// Kernel image.
    pub(crate) kernel: File,
    /// Initial RAM file system, unless it boots from a disk.
    pub(crate) initramfs: Option<File>,
}

/// A machine that is switched on.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) boot: Boot,
    pub(crate) memory: Memory,
    /// Where to record what its guest's kernel says.
    pub(crate) console: Option<BoundedFile>,
}

/// What a machine that is switched on has for its memory.
#[derive(Debug)]
pub(crate) enum Memory {
    /// Whatever the VMM takes.
    Own,
    /// This file, because the process that serves a share maps it, too.
    Shared(OwnedFd),
    /// This file, because the machine is to be saved: the engine reads it then.
    Saveable(OwnedFd),
}

/// A machine that was saved, as it is given to a new VMM.
#[derive(Debug)]
pub(crate) struct SavedMachine {
    /// What [`Machine::save`] wrote; nobody else has its position.
    pub(crate) state: OwnedFd,
    /// Its memory, which many machines read and none may write to.
    pub(crate) memory: File,
    /// Where to record what its guest's kernel says.
    pub(crate) console: Option<BoundedFile>,
}

/// How a VMM is run on this host.
#[derive(Debug, Clone)]
pub(crate) struct Conditions {
    /// Frequency of the host's time-stamp counter in kHz.
    pub(crate) tsc_khz: u64,
    /// How long the VMM may take to set up its machine.
    pub(crate) answer_limit: Duration,
    /// Whether it may run where the host cannot confine it.
    pub(crate) accept_less: bool,
}

/// A machine that runs, and what the engine keeps of it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) machine: Box<dyn Machine>,
    /// The host's end of the guest channel.
    pub(crate) channel: UnixStream,
    /// When its process was started.
    pub(crate) spawned: Instant,
}

/// A VMM that this host has.
#[async_trait]
pub(crate) trait Vmm: Debug + Send + Sync {
    /// Its name, version and place, for people to read.
    fn describe(&self, accelerator: Accelerator) -> String;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// The program: a machine that one program saved, another one does not restore.
    fn identity(&self, accelerator: Accelerator) -> &FileIdentity;

    /// Whether of a restored machine with `devices` those that `saved` tells of are where they would be if they were saved without the others.
    fn keeps_places(&self, devices: &[Device], saved: fn(&Device) -> bool) -> bool;

    /// How many more devices a machine with `devices` has place for, if it was saved before and is restored.
    fn room_left(&self, devices: &[Device]) -> usize;

    /// Starts the machine `spec`, which was checked. Returns when it runs.
    async fn start(
        &self,
        spec: &VmSpec,
        start: Start,
        conditions: &Conditions,
    ) -> Result<Running, StartError>;

    /// Starts the machine `spec`, which was checked, where another one was saved. Returns when it runs.
    async fn restore(
        &self,
        spec: &VmSpec,
        saved: SavedMachine,
        conditions: &Conditions,
    ) -> Result<Running, RestoreError>;
}

/// A machine and the VMM that runs it. Dropping it ends both.
#[async_trait]
pub(crate) trait Machine: Debug + Send + Sync {
    /// Process id of the VMM.
    fn pid(&self) -> u32;

    /// Puts a process that serves it into its cgroup, if it has one: see [`crate::Vm::admit`].
    fn admit(&mut self, server: u32, more: Allowance) -> io::Result<()>;

    /// Ends the VMM at once. Succeeds if it has ended already.
    fn kill(&self) -> io::Result<()>;

    /// Waits for its end, and explains it; asked once. May be cancelled.
    async fn wait(&mut self) -> io::Result<VmExit>;

    /// Stops the virtual CPUs.
    async fn pause(&self) -> Result<(), ControlError>;

    /// Lets the virtual CPUs run again.
    async fn resume(&self) -> Result<(), ControlError>;

    /// As [`crate::Vm::stalls`].
    fn stalls(&self) -> Stalls;

    /// As [`crate::Vm::exchange_disks`].
    async fn exchange_disks(&mut self, disks: &[&Disk]) -> Result<(), ExchangeError>;

    /// Closes what an exchange has replaced.
    async fn close_exchanged_disks(&mut self) -> Result<(), ControlError>;

    /// As [`crate::Vm::connect_nic`].
    async fn connect_nic(
        &mut self,
        tap: BorrowedFd<'_>,
        mtu: u16,
    ) -> Result<MacAddress, ConnectError>;

    /// As [`crate::Vm::disconnect_nic`].
    async fn disconnect_nic(&mut self, mac: MacAddress) -> Result<(), ConnectError>;

    /// Writes the state of the machine's devices to `file`, which stops it for good. Its memory is complete then.
    async fn save(&self, file: BorrowedFd<'_>) -> Result<(), ControlError>;

    /// Records from now on in `file` what the guest's kernel says.
    fn record_console(&self, file: BoundedFile);

    /// Writes `note` into that record, where there is one.
    fn note_on_console(&self, note: &[u8]);
}
