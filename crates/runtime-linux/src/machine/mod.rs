//! The machine of a container: booted, or started from a template.

mod boot;
mod host;
mod nesting;
mod nics;
mod probe;
mod rehearsal;
mod room;
mod shares;
mod spec;
mod standby;
mod template;
mod volumes;

use std::time::Duration;

use container_api::greeting::Hello;
use container_api::guest_channel::Guest;
use container_engine::{HostMemory, Vm, VmExit};

use crate::limits::limit;
use crate::sockets::HostSockets;

pub use boot::{Way, boot};
pub use host::Host;
pub use nics::{mac, mtu};
pub use probe::probe;
pub use room::Room;
pub use shares::Shares;
pub use standby::Standby;
pub use template::{TemplateRequest, make as make_template};
pub use volumes::{Taken, Volume};

/// How long the end of a VMM may take to be seen after its guest was lost.
pub const LOST_TIMEOUT: Duration = limit(1);

/// A machine whose guest waits for its first request.
#[derive(Debug)]
pub struct Machine {
    /// The machine.
    pub vm: Vm,
    /// Calls into its guest.
    pub guest: Guest,
    /// Who serves its shares, if it has any.
    pub shares: Option<Shares>,
    /// Where it comes from.
    pub origin: Origin,
}

/// A machine, and the helper that cannot do much more than serve it.
#[derive(Debug)]
pub struct Booted {
    /// The machine.
    pub machine: Machine,
    /// What it costs the host; nothing where the host does not tell.
    pub memory: Option<HostMemory>,
    /// Volumes that are its own as long as this is held.
    pub volumes: Taken,
    /// Sockets of the host, if it has to do with any.
    pub sockets: Option<HostSockets>,
    /// What is left for what it writes; nothing where the host does not tell.
    pub room: Option<Room>,
}

/// Where a machine comes from.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// Its kernel was booted for it.
    Cold {
        /// What the guest said of its start.
        hello: Hello,
        /// A template would have been used, had there been one.
        template_wanted: bool,
    },
    /// It was saved before, waiting as it waits now.
    Template,
    /// It was restored and rehearsed before its container was known.
    Standby,
}

impl Origin {
    /// Whether a template would have been used, had there been one.
    pub fn wants_template(self) -> bool {
        matches!(
            self,
            Self::Cold {
                template_wanted: true,
                ..
            }
        )
    }
}

/// Ends the machine and waits until it has.
pub async fn end(vm: &mut Vm) {
    if let Err(error) = vm.kill() {
        tracing::warn!("cannot kill the VMM: {error:#}");
    }
    if let Err(error) = vm.wait().await {
        tracing::warn!("cannot wait for the VMM: {error:#}");
    }
}

/// How a machine ended, in words.
pub fn describe(exit: std::io::Result<VmExit>) -> String {
    match exit {
        Ok(exit) => format!("the virtual machine ended: {exit}"),
        Err(error) => format!("the virtual machine cannot be watched: {error}"),
    }
}
