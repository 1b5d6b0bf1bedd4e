//! A machine that QEMU runs, and the commands that control it.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::device::disk::exchange::Backends;
use super::device::nic::Nics;
use super::messages::explain;
use super::migration;
use super::qmp::Qmp;
use crate::confinement::cgroup::Allowance;
use crate::console::BoundedFile;
use crate::device::{Disk, MacAddress};
use crate::exit::VmExit;
use crate::process::VmmProcess;
use crate::recorder::Recorder;
use crate::vmm::{ConnectError, ControlError, ExchangeError, Machine, Retry, Stalls};

/// How long QEMU may take over a command.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);

/// The process, its control connection, and what it says.
#[derive(Debug)]
pub(super) struct QemuMachine {
    pub(super) process: VmmProcess,
    pub(super) control: Arc<Qmp>,
    pub(super) console: Recorder,
    pub(super) messages: Recorder,
    pub(super) disks: Backends,
    pub(super) nics: Nics,
}

impl QemuMachine {
    async fn command(&self, name: &'static str) -> Result<(), ControlError> {
        let answer = self.control.execute(name, Value::Null, COMMAND_LIMIT);
        answer.await.map(drop)
    }
}

#[async_trait]
impl Retry for Qmp {
    async fn retry(&self) -> Result<(), ControlError> {
        let answer = self.execute("cont", Value::Null, COMMAND_LIMIT);
        answer.await.map(drop)
    }
}

#[async_trait]
impl Machine for QemuMachine {
    fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn admit(&mut self, server: u32, more: Allowance) -> io::Result<()> {
        self.process.admit(server, more)
    }

    fn kill(&self) -> io::Result<()> {
        self.process.kill()
    }

    async fn wait(&mut self) -> io::Result<VmExit> {
        let status = self.process.wait().await?;
        let forbidden = self.process.forbidden();
        Ok(explain(status, forbidden, &mut self.console, &mut self.messages).await)
    }

    async fn pause(&self) -> Result<(), ControlError> {
        self.command("stop").await
    }

    async fn resume(&self) -> Result<(), ControlError> {
        self.command("cont").await
    }

    fn stalls(&self) -> Stalls {
        Stalls::new(self.control.stalls(), self.control.clone())
    }

    async fn exchange_disks(&mut self, disks: &[&Disk]) -> Result<(), ExchangeError> {
        self.disks.exchange(&self.control, disks).await
    }

    async fn close_exchanged_disks(&mut self) -> Result<(), ControlError> {
        self.disks.close_replaced(&self.control).await
    }

    async fn connect_nic(
        &mut self,
        tap: BorrowedFd<'_>,
        mtu: u16,
    ) -> Result<MacAddress, ConnectError> {
        self.nics
            .connect(&self.control, &self.process, tap, mtu)
            .await
    }

    async fn disconnect_nic(&mut self, mac: MacAddress) -> Result<(), ConnectError> {
        self.nics.disconnect(&self.control, mac).await
    }

    async fn save(&self, file: BorrowedFd<'_>) -> Result<(), ControlError> {
        migration::save(&self.control, file).await
    }

    fn record_console(&self, file: BoundedFile) {
        self.console.record_into(file);
    }

    fn note_on_console(&self, note: &[u8]) {
        self.console.note(note);
    }
}
