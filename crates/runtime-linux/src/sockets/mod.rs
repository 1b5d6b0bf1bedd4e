//! Unix sockets between the host and the container: sockets of the container that are published on the host, and sockets of the
//! host that the container reaches.
//!
//! A helper that is shut in makes no connection and removes no file of the host's. So a process of its own (`keep`) does both: it
//! knows the sockets' paths, and the helper can ask it for no other. Bytes pass the helper alone; datagrams pass both, as who has a socket for them
//! can send to anybody.

mod bind;
mod datagrams;
mod doors;
mod inet;
mod keep;
mod keeper;
mod look;
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
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::process::Process;

pub use keep::keep;
use keeper::Keeper;
pub use plan::{AGENT, agent_source, source};
use protocol::Found;

/// A container's sockets; closed, and those on the host removed, when this is dropped.
#[derive(Debug)]
pub struct HostSockets {
    /// Before the keeper: what is carried ends first.
    relays: JoinSet<()>,
    /// How many are published.
    published: usize,
    /// What the host's are like, and where changes of that are told.
    targets: Vec<Found>,
    changes: Option<UnixStream>,
    /// Its ports are the host's.
    ports: bool,
    keeper: Arc<Keeper>,
}

/// Those whose keeper has not answered yet.
#[derive(Debug)]
pub struct Starting {
    keeper: Keeper,
    published: usize,
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
            published: request.published.len(),
            ports: request.ports,
        }))
    }

    /// What the guest is to listen at.
    pub fn of_guest(&self) -> Vec<HostSocket> {
        let targets = self.targets.iter();
        let socket = |found: &Found| HostSocket {
            mode: found.mode,
            listening: found.listening,
        };
        targets.map(socket).collect()
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
        let mut doors = Vec::with_capacity(self.published);
        for number in 0..self.published {
            let (door, listening) = watch::channel(false);
            doors.push(door);
            let keeper = Arc::clone(&self.keeper);
            let publish = connections.clone().publish(number, keeper, listening);
            self.relays.spawn(publish);
        }
        if !doors.is_empty() {
            self.relays.spawn(doors::of_container(guest.clone(), doors));
        }
        if let Some(changes) = self.changes.take()
            && !self.targets.is_empty()
        {
            self.relays.spawn(doors::of_host(guest.clone(), changes));
        }
        for number in 0..self.targets.len() {
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
        let (keeper, targets, changes) = self.keeper.ready().await?;
        Ok(HostSockets {
            relays: JoinSet::new(),
            published: self.published,
            targets,
            changes: Some(changes),
            ports: self.ports,
            keeper: Arc::new(keeper),
        })
    }
}
