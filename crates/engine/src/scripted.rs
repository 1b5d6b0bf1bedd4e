//! A VMM that does what a test says. It runs no program: its machines are values, and their guest is a function of the test.
//!
//! With it everything above the engine is tested in milliseconds: what is done when a VMM does not start, when it ends, when it
//! does not restore a machine, and what a guest may do meanwhile.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::accelerator::Verdict;
use crate::console::BoundedFile;
use crate::device::{Device, Disk};
use crate::engine::{Engine, StartError};
use crate::exit::{ExitCause, VmExit};
use crate::identity::FileIdentity;
use crate::saving::RestoreError;
use crate::spec::{Accelerator, VmSpec};
use crate::vmm::{
    Capabilities, Conditions, ControlError, ExchangeError, Machine, Running, SavedMachine, Start,
    Vmm,
};

/// What a VMM does when it is to start or to restore a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Act {
    /// The machine runs.
    #[default]
    Runs,
    /// The VMM cannot be started.
    NotStarted,
    /// The VMM starts, and ends before the machine runs.
    Dies,
    /// The VMM starts, and does not answer.
    Silent,
}

/// What plays the guest: called for each machine that runs, on the engine's runtime.
pub type GuestScript = dyn Fn(GuestSide) + Send + Sync;

/// What a test says.
#[derive(Clone)]
pub struct Script {
    /// What the VMM states that it can do.
    pub capabilities: Capabilities,
    /// When a machine is switched on.
    pub start: Act,
    /// When a machine is to go on where another one was saved.
    pub restore: Act,
    /// The guest.
    pub guest: Arc<GuestScript>,
    calls: Arc<Mutex<Vec<String>>>,
}

/// What a guest has of its machine.
#[derive(Debug)]
pub struct GuestSide {
    /// Its end of the guest channel.
    pub channel: UnixStream,
    /// Ends the machine.
    pub power: Power,
    /// It goes on where another one was saved: it has said its first words already.
    pub restored: bool,
}

/// The switch of a machine.
#[derive(Debug, Clone)]
pub struct Power(watch::Sender<Option<VmExit>>);

impl Power {
    /// The guest switches itself off.
    pub fn off(&self) {
        self.end(0, ExitCause::Guest, &[]);
    }

    /// The guest's kernel panics.
    pub fn panic(&self, message: &str) {
        self.end(0, ExitCause::Panic(message.to_owned()), &[]);
    }

    /// The VMM is killed by `signal`.
    pub fn killed(&self, signal: i32) {
        self.end(signal, ExitCause::Vmm, &[]);
    }

    /// The VMM exits with status 1 and a last message.
    pub fn failed(&self, message: &str) {
        self.end(1 << 8, ExitCause::Vmm, &[message]);
    }

    /// The first end counts. `status` is encoded as by wait(2).
    fn end(&self, status: i32, cause: ExitCause, explanation: &[&str]) {
        self.0.send_if_modified(|exit| {
            let is_first = exit.is_none();
            if is_first {
                *exit = Some(VmExit {
                    status: ExitStatus::from_raw(status),
                    cause,
                    explanation: explanation.iter().copied().map(str::to_owned).collect(),
                });
            }
            is_first
        });
    }

    /// Waits until the machine has ended.
    pub async fn ended(&self) -> VmExit {
        let mut exit = self.0.subscribe();
        loop {
            if let Some(exit) = &*exit.borrow_and_update() {
                return exit.clone();
            }
            // The sender lives as long as `self`, so there is no error.
            let _ = exit.changed().await;
        }
    }
}

impl Script {
    /// Machines run, with `guest` in them, under a VMM that can do everything.
    pub fn new(guest: impl Fn(GuestSide) + Send + Sync + 'static) -> Self {
        Self {
            capabilities: Capabilities::ALL,
            start: Act::default(),
            restore: Act::default(),
            guest: Arc::new(guest),
            calls: Arc::default(),
        }
    }

    /// What the VMM was told so far, such as `start`, `restore`, `pause`, `exchange root`.
    pub fn calls(&self) -> Vec<String> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.clone()
    }

    /// An engine with such a VMM.
    ///
    /// # Errors
    /// Where `/proc` is missing.
    pub fn engine(&self) -> io::Result<Engine> {
        let vmm = ScriptedVmm {
            script: self.clone(),
            identity: FileIdentity::of(Path::new("/proc/self/exe"))?,
        };
        let reason = "a test says so".to_owned();
        Ok(Engine::with(
            Arc::new(vmm),
            Verdict::Undecided { reason },
            1_000_000,
        ))
    }

    fn called(&self, what: impl Into<String>) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(what.into());
    }

    fn run(&self, restored: bool) -> io::Result<Running> {
        let (channel, theirs) = UnixStream::pair()?;
        let power = Power(watch::Sender::new(None));
        (self.guest)(GuestSide {
            channel: theirs,
            power: power.clone(),
            restored,
        });
        let script = self.clone();
        Ok(Running {
            machine: Box::new(ScriptedMachine { script, power }),
            channel,
            spawned: Instant::now(),
        })
    }
}

impl Act {
    fn error(self, conditions: &Conditions) -> Option<StartError> {
        match self {
            Self::Runs => None,
            Self::NotStarted => Some(StartError::Spawn {
                path: "scripted".into(),
                source: io::Error::from(io::ErrorKind::NotFound).into(),
            }),
            Self::Dies => Some(StartError::Died("the VMM exited with status 1".to_owned())),
            Self::Silent => Some(StartError::Silent(silence(conditions))),
        }
    }
}

fn silence(conditions: &Conditions) -> ControlError {
    ControlError::Timeout {
        command: "start",
        limit: conditions.answer_limit,
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("start", &self.start)
            .field("restore", &self.restore)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct ScriptedVmm {
    script: Script,
    identity: FileIdentity,
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

    fn late_devices(&self, devices: &[Device], saved: fn(&Device) -> bool) -> Option<u32> {
        let late = devices.iter().filter(|device| !saved(device)).count();
        u32::try_from(late).ok()
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
struct ScriptedMachine {
    script: Script,
    power: Power,
}

#[async_trait]
impl Machine for ScriptedMachine {
    fn pid(&self) -> u32 {
        std::process::id()
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

    async fn exchange_disks(&mut self, disks: &[&Disk]) -> Result<(), ExchangeError> {
        for disk in disks {
            self.script.called(format!("exchange {}", disk.role));
        }
        Ok(())
    }

    async fn close_exchanged_disks(&mut self) -> Result<(), ControlError> {
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

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    /// A machine that can be started here, with files in `directory`.
    fn spec(directory: &Path, devices: Vec<Device>) -> VmSpec {
        // An ELF header of x86-64 with one program header (elf.h): as much of a kernel as is looked at.
        let mut kernel = vec![0; 120];
        kernel[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (kernel[18], kernel[32], kernel[54], kernel[56]) = (62, 64, 56, 1);
        std::fs::write(directory.join("kernel"), kernel).unwrap();
        std::fs::write(directory.join("initramfs"), "x").unwrap();
        VmSpec {
            kernel: directory.join("kernel"),
            initramfs: Some(directory.join("initramfs")),
            command_line: String::new(),
            vcpus: NonZeroU32::MIN,
            memory_bytes: 64 << 20,
            devices,
            accelerator: Accelerator::Tcg,
            nested_virtualization: false,
        }
    }

    #[tokio::test]
    async fn a_machine_is_saved_and_restored_and_each_way_to_fail_is_told() {
        let scratch = tempfile::tempdir().unwrap();
        let spec = spec(scratch.path(), vec![Device::Balloon]);
        let mut script = Script::new(|side| side.power.off());
        let engine = script.engine().unwrap();
        let place = scratch.path().join("template");
        let saveable = engine.start_saveable(&spec).await.unwrap();
        saveable.save(&place).await.unwrap();
        let template = engine.open_template(&place, &spec).unwrap();
        let mut vm = engine.restore(&template, &spec).await.unwrap();
        assert_eq!(vm.wait().await.unwrap().cause, ExitCause::Guest);
        assert_eq!(script.calls(), ["start", "save", "restore"]);
        for (act, start, restore) in [
            (
                Act::NotStarted,
                "cannot start the VMM scripted",
                "cannot start the VMM",
            ),
            (
                Act::Dies,
                "the VMM ended at its start",
                "the VMM did not load the saved state",
            ),
            (
                Act::Silent,
                "the VMM does not answer",
                "the VMM did not load the saved state",
            ),
        ] {
            (script.start, script.restore) = (act, act);
            let engine = script.engine().unwrap();
            let error = engine.start(&spec).await.unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
            let error = engine.restore(&template, &spec).await.unwrap_err();
            assert_eq!(error.to_string(), restore);
        }
    }

    #[test]
    fn a_balloon_that_the_vmm_lacks_is_left_out() {
        let scratch = tempfile::tempdir().unwrap();
        let spec = spec(scratch.path(), vec![Device::Balloon, Device::Entropy]);
        let mut script = Script::new(drop);
        let devices = |script: &Script| {
            let engine = script.engine().unwrap();
            engine.possible(&spec).devices.len()
        };
        assert_eq!(devices(&script), 2);
        script.capabilities.balloon = false;
        assert_eq!(devices(&script), 1);
    }
}
