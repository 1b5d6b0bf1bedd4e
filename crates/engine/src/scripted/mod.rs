//! A VMM that does what a test says. It runs no program: its machines are values, and their guest is a function of the test.
//!
//! With it everything above the engine is tested in milliseconds: what is done when a VMM does not start, when it ends, when it
//! does not restore a machine, and what a guest may do meanwhile.

#[cfg(test)]
mod tests;
mod vmm;

use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::accelerator::Verdict;
use crate::engine::{Engine, StartError};
use crate::exit::{ExitCause, VmExit};
use crate::identity::FileIdentity;
use crate::vmm::{Capabilities, Conditions, ControlError, Count, Refusal, Running};
use vmm::{ScriptedMachine, ScriptedVmm};

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
    /// The host's room for its disks.
    pub room: HostRoom,
    /// It goes on where another one was saved: it has said its first words already.
    pub restored: bool,
}

/// Whether a machine's disks find room on the host.
#[derive(Debug, Clone)]
pub struct HostRoom {
    stalls: watch::Sender<Count>,
    refusal: Arc<Mutex<Refusal>>,
    is_full: Arc<AtomicBool>,
}

impl HostRoom {
    fn new() -> Self {
        Self {
            stalls: watch::Sender::default(),
            refusal: Arc::default(),
            is_full: Arc::default(),
        }
    }

    /// A disk finds no room: the machine stands still, unless its VMM cannot do that.
    pub fn runs_out(&self) {
        self.refuses(Refusal::Full);
    }

    /// The host does not take what is written, for this reason.
    pub fn refuses(&self, why: Refusal) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = why;
        self.is_full.store(true, Ordering::Relaxed);
        self.stall();
    }

    /// What is tried again from now on finds room.
    pub fn comes_back(&self) {
        self.is_full.store(false, Ordering::Relaxed);
    }

    fn stall(&self) {
        let why = *self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        self.stalls.send_modify(|count| count.add(why));
    }
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
        let room = HostRoom::new();
        (self.guest)(GuestSide {
            channel: theirs,
            power: power.clone(),
            room: room.clone(),
            restored,
        });
        let script = self.clone();
        Ok(Running {
            machine: Box::new(ScriptedMachine {
                script,
                power,
                room,
            }),
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
