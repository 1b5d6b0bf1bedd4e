//! The two traits, by the script.

use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Act, HostRoom, Power, Script, silence};
use crate::confinement::cgroup::Allowance;
use crate::console::BoundedFile;
use crate::device::{Device, Disk, MacAddress};
use crate::engine::StartError;
use crate::exit::VmExit;
use crate::identity::FileIdentity;
use crate::saving::RestoreError;
use crate::spec::{Accelerator, VmSpec};
use crate::vmm::{
    Capabilities, Conditions, ConnectError, ControlError, Count, ExchangeError, Machine, Retry,
    Running, SavedMachine, Stalls, Start, Vmm,
};

#[derive(Debug)]
pub(super) struct ScriptedVmm {
    pub(super) script: Script,
    pub(super) identity: FileIdentity,
}

#[async_trait]
impl Vmm for ScriptedVmm {
    fn describe(&self, _: Accelerator) -> String {
        "a scripted VMM".to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        self.script.capabilities
    }

    fn identity(&self, _: Accelerator) -> &FileIdentity {
        &self.identity
    }

    fn keeps_places(&self, _: &[Device], _: fn(&Device) -> bool) -> bool {
        true
    }

    fn room_left(&self, _: &[Device]) -> usize {
        1
    }

    async fn start(
        &self,
        _: &VmSpec,
        _: Start,
        conditions: &Conditions,
    ) -> Result<Running, StartError> {
        self.script.called("start");
        match self.script.start.error(conditions) {
            Some(error) => Err(error),
            None => self.script.run(false).map_err(StartError::Prepare),
        }
    }

    async fn restore(
        &self,
        _: &VmSpec,
        _: SavedMachine,
        conditions: &Conditions,
    ) -> Result<Running, RestoreError> {
        self.script.called("restore");
        match self.script.restore {
            // It has answered before it was given the state.
            Act::Dies => Err(RestoreError::State(ControlError::Closed)),
            Act::Silent => Err(RestoreError::State(silence(conditions))),
            act => match act.error(conditions) {
                Some(error) => Err(RestoreError::Start(Box::new(error))),
                None => self.script.run(true).map_err(RestoreError::Memory),
            },
        }
    }
}

#[derive(Debug)]
pub(super) struct ScriptedMachine {
    pub(super) script: Script,
    pub(super) power: Power,
    pub(super) room: HostRoom,
}

#[derive(Debug)]
struct ScriptedRetry {
    script: Script,
    room: HostRoom,
}

#[async_trait]
impl Retry for ScriptedRetry {
    async fn retry(&self) -> Result<(), ControlError> {
        self.script.called("retry");
        if self.room.is_full.load(Ordering::Relaxed) {
            self.room.stall();
        }
        Ok(())
    }
}

#[async_trait]
impl Machine for ScriptedMachine {
    fn pid(&self) -> u32 {
        std::process::id()
    }

    fn admit(&mut self, _server: u32, _more: Allowance) -> io::Result<()> {
        Ok(())
    }

    fn kill(&self) -> io::Result<()> {
        self.script.called("kill");
        self.power.killed(libc::SIGKILL);
        Ok(())
    }

    async fn wait(&mut self) -> io::Result<VmExit> {
        Ok(self.power.ended().await)
    }

    async fn pause(&self) -> Result<(), ControlError> {
        self.script.called("pause");
        Ok(())
    }

    async fn resume(&self) -> Result<(), ControlError> {
        self.script.called("resume");
        Ok(())
    }

    fn stalls(&self) -> Stalls {
        let count = if self.script.capabilities.waits_for_room {
            self.room.stalls.subscribe()
        } else {
            watch::channel(Count::default()).1
        };
        let retry = ScriptedRetry {
            script: self.script.clone(),
            room: self.room.clone(),
        };
        Stalls::new(count, Arc::new(retry))
    }

    async fn exchange_disks(&mut self, disks: &[&Disk]) -> Result<(), ExchangeError> {
        for disk in disks {
            self.script.called(format!("exchange {}", disk.role));
        }
        Ok(())
    }

    async fn close_exchanged_disks(&mut self) -> Result<(), ControlError> {
        Ok(())
    }

    async fn connect_nic(&mut self, _: BorrowedFd<'_>, _: u16) -> Result<MacAddress, ConnectError> {
        self.script.called("connect");
        MacAddress::new([2, 0, 0, 0, 0, 2]).map_err(|_| ConnectError::NoSpare)
    }

    async fn disconnect_nic(&mut self, mac: MacAddress) -> Result<(), ConnectError> {
        self.script.called(format!("disconnect {mac}"));
        Ok(())
    }

    async fn save(&self, file: BorrowedFd<'_>) -> Result<(), ControlError> {
        self.script.called("save");
        let file = file.try_clone_to_owned().map_err(ControlError::Write)?;
        let written = std::fs::File::from(file).write_all(b"a scripted machine");
        written.map_err(ControlError::Write)
    }

    fn record_console(&self, _: BoundedFile) {}

    fn note_on_console(&self, _: &[u8]) {}
}

impl Drop for ScriptedMachine {
    fn drop(&mut self) {
        self.power.killed(libc::SIGKILL);
    }
}
