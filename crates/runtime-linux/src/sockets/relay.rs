//! Connections, carried between the host and the guest.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use container_api::guest_channel::Guest;
use container_api::relay::{CONNECTIONS, Relay, Said};
use container_api::streams::SocketConnection;
use container_api::{Error, Kind};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::keeper::Keeper;

/// How long nothing is taken after an error.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a published socket stays shut at least: a guest that says now this and now that makes no work.
const SHUT: Duration = Duration::from_millis(50);

/// A container's connections, of which there are so many at a time.
#[derive(Clone, Debug)]
pub struct Connections {
    guest: Guest,
    free: Arc<Semaphore>,
}

impl Connections {
    /// None, as yet.
    pub fn new(guest: Guest) -> Self {
        // The platform's numbers are as large as these.
        let most = usize::try_from(CONNECTIONS).unwrap_or(usize::MAX);
        Self {
            guest,
            free: Arc::new(Semaphore::new(most)),
        }
    }

    /// Room for one more. Whoever else connects to the same socket meanwhile waits in its queue.
    async fn room(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    /// Carries connections to the published socket `number` into the container, which `keeper` opens while somebody listens there.
    pub async fn publish(
        self,
        number: usize,
        keeper: Arc<Keeper>,
        mut listening: watch::Receiver<bool>,
    ) {
        let mut told = false;
        let carry = move |guest: Guest, client: UnixStream| async move {
            match guest.socket(SocketConnection::Connect(number)).await {
                Ok((relay, said)) => relay.carry(client, said).await,
                // Taken just before the guest told that nobody listens any more.
                Err(error) => tracing::debug!("published socket {number}: {error:#}"),
            }
        };
        while listening.wait_for(|listening| *listening).await.is_ok() {
            match keeper.open(number).await {
                Ok(listener) => tokio::select! {
                    () = self.clone().each(number, || listener.accept(), carry) => return,
                    _ = listening.wait_for(|listening| !*listening) => {}
                },
                Err(error) => {
                    tell(&mut told, number, &error);
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            }
            if let Err(error) = keeper.close(number).await {
                tell(&mut told, number, &error);
            }
            tokio::time::sleep(SHUT).await;
        }
    }

    /// Carries connections to `listener` to a port of the container's.
    pub async fn publish_port(self, listener: TcpListener, to: SocketAddr) {
        let next = || listener.accept();
        let number = to.port().into();
        self.each(number, next, move |guest: Guest, client| async move {
            let carried = match guest.socket(SocketConnection::Port(to)).await {
                Ok((relay, said)) => relay.carry_tcp(client, said).await,
                Err(error) => Err(io::Error::other(error)),
            };
            if let Err(error) = carried {
                tracing::debug!("port {to}: {error:#}");
            }
        })
        .await;
    }

    /// Carries the datagrams of `stream` to a port of the container's, and back.
    pub async fn publish_datagrams(self, stream: UnixStream, to: SocketAddr) {
        match self.guest.socket(SocketConnection::Datagrams(to)).await {
            Ok((relay, said)) => relay.carry(stream, said).await,
            Err(error) => tracing::debug!("UDP port {to}: {error:#}"),
        }
    }

    /// Has `carry` carry each connection that `next` gives, while there is room. `number` is for the log.
    async fn each<C, A, N, F>(
        self,
        number: usize,
        next: impl Fn() -> N,
        carry: impl Fn(Guest, C) -> F,
    ) where
        N: Future<Output = io::Result<(C, A)>>,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut told = false;
        loop {
            let client = match next().await {
                Ok((client, _)) => client,
                Err(error) => {
                    tell(&mut told, number, &error);
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(room) = self.room().await else {
                return;
            };
            let carried = carry(self.guest.clone(), client);
            tokio::spawn(async move {
                carried.await;
                drop(room);
            });
        }
    }

    /// Carries connections that programs of the container make to its socket `number` to where `keeper` knows it leads.
    pub async fn lead_out(self, number: usize, keeper: Arc<Keeper>) {
        let mut told = false;
        loop {
            match self.guest.socket(SocketConnection::Accept(number)).await {
                Ok((relay, said)) => {
                    let Some(room) = self.room().await else {
                        return;
                    };
                    let keeper = Arc::clone(&keeper);
                    tokio::spawn(out(number, keeper, relay, said, room));
                }
                Err(error) => {
                    let error = Error::of_guest(error);
                    // The guest has gone, and this soon will.
                    if error.kind == Kind::Unavailable {
                        return;
                    }
                    tell(&mut told, number, &error);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn out(
    number: usize,
    keeper: Arc<Keeper>,
    relay: Relay,
    said: Said,
    room: OwnedSemaphorePermit,
) {
    let connected = keeper.connect(number).await;
    // It ends with the container, and not with its last connection.
    drop(keeper);
    match connected {
        Ok(server) => relay.carry(server, said).await,
        Err(error) => {
            tracing::debug!("socket {number} of the host: {error:#}");
            relay.refuse(io::Error::other(error)).await;
        }
    }
    drop(room);
}

/// What goes wrong again and again is told once: a container could fill the log with it.
fn tell(told: &mut bool, number: usize, error: &dyn std::error::Error) {
    if !std::mem::replace(told, true) {
        tracing::warn!("socket {number}: {error:#}");
    }
}
