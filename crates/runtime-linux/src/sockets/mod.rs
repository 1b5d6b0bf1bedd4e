//! Unix sockets between the host and the container: sockets of the container that are published on the host, and sockets of the
//! host that the container reaches.
//!
//! A helper that is shut in makes no connection and removes no file of the host's. So a process of its own (`keep`) does both: it
//! knows the sockets' paths, and the helper can ask it for no other. Bytes pass the helper alone.

mod bind;
mod keep;
mod keeper;
mod plan;
mod ports;
mod protocol;
mod reach;
mod relay;

use std::sync::Arc;

use container_api::Error;
use container_api::guest::HostSocket;
use container_api::guest_channel::Guest;
use container_resource::bundle::Boot;
use container_resource::container::ContainerConfiguration;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use crate::process::Process;

pub use keep::keep;
use keeper::Keeper;
pub use plan::{AGENT, agent_source, source};

/// A container's sockets; closed, and those on the host removed, when this is dropped.
#[derive(Debug)]
pub struct HostSockets {
    /// Before the keeper: what is carried ends first.
    relays: JoinSet<()>,
    listeners: Vec<UnixListener>,
    modes: Vec<u32>,
    /// Its ports are the host's.
    ports: bool,
    keeper: Arc<Keeper>,
}

/// Those whose keeper has not answered yet.
#[derive(Debug)]
pub struct Starting {
    keeper: Keeper,
    ports: bool,
}

impl HostSockets {
    /// Starts the keeper, if the container has such sockets.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub async fn start(
        configuration: &ContainerConfiguration,
        boot: &Boot,
    ) -> Result<Option<Starting>, Error> {
        let request = plan::request(configuration, boot);
        if request.is_empty() {
            return Ok(None);
        }
        Ok(Some(Starting {
            keeper: Keeper::start(&request).await?,
            ports: request.ports,
        }))
    }

    /// What the guest is to listen at.
    pub fn of_guest(&self) -> Vec<HostSocket> {
        let modes = self.modes.iter();
        modes.map(|mode| HostSocket { mode: *mode }).collect()
    }

    /// Ends them; returns when those on the host are gone.
    pub async fn end(self) {
        let Self {
            mut relays, keeper, ..
        } = self;
        // They have the keeper, too.
        relays.shutdown().await;
        if let Some(keeper) = Arc::into_inner(keeper) {
            keeper.end().await;
        }
    }

    /// Carries connections from now on: the container's `first` process runs.
    pub fn serve(&mut self, guest: &Guest, first: &Arc<Process>) {
        let connections = relay::Connections::new(guest.clone());
        if self.ports {
            let keeper = Arc::clone(&self.keeper);
            let ports = ports::Ports::new(connections.clone(), keeper, Arc::clone(first));
            self.relays.spawn(ports.follow(guest.clone()));
        }
        for (number, listener) in self.listeners.drain(..).enumerate() {
            self.relays
                .spawn(connections.clone().publish(number, listener));
        }
        for number in 0..self.modes.len() {
            let keeper = Arc::clone(&self.keeper);
            self.relays
                .spawn(connections.clone().lead_out(number, keeper));
        }
    }
}

impl Starting {
    /// Waits until the host's sockets are there.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub async fn ready(self) -> Result<HostSockets, Error> {
        let (keeper, modes, listeners) = self.keeper.ready().await?;
        Ok(HostSockets {
            relays: JoinSet::new(),
            listeners,
            modes,
            ports: self.ports,
            keeper: Arc::new(keeper),
        })
    }
}
