//! Sockets between the container and the host: those of the guest that lead to the host, and those of the container that
//! the host reaches.

mod datagrams;
mod listen;
mod reach;
mod shown;

use std::sync::Arc;
use std::time::Duration;

use container_api::guest::{HostSocket, PublishedReply};
use container_api::relay::Relay;
use container_api::streams::SocketConnection;
use futures::{Stream, stream};
use hyper::body::Incoming;
use hyper::{Request, Response};
use rustix::process::Pid;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tonic::Status;
use tonic::body::Body;

use crate::agent::{Agent, AgentError};
use listen::Listening;
use reach::Published;

/// How often it is looked whether somebody listens at a published socket: the kernel has no event for it.
const PERIOD: Duration = Duration::from_millis(250);

/// A container's sockets.
#[derive(Debug, Default)]
pub struct Sockets {
    host: Vec<Listening>,
    published: Vec<Published>,
    /// One has refused a connection, so it is to be looked at.
    refused: Notify,
}

/// Why a socket that leads to the host cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {path}")]
pub struct SocketError {
    path: String,
    #[source]
    source: std::io::Error,
}

impl Sockets {
    /// Makes each socket that leads to the `host`, and takes down the paths that are `published`.
    pub fn open(host: &[HostSocket], published: Vec<String>) -> Result<Self, SocketError> {
        Ok(Self {
            host: listen::all(host)?,
            published: published.into_iter().map(Published::at).collect(),
            refused: Notify::new(),
        })
    }

    /// The next `connection` to a socket that leads to the host, or one to a socket of the container, whose first process is
    /// `leader`.
    async fn connect(
        &self,
        connection: SocketConnection,
        leader: Pid,
    ) -> Result<UnixStream, AgentError> {
        let connected = match connection {
            SocketConnection::Accept(index) => {
                let listening = self.host.get(index);
                listening.ok_or(AgentError::NoSocket(index))?.accept().await
            }
            SocketConnection::Connect(index) => {
                let published = self.published.get(index);
                let published = published.ok_or(AgentError::NoSocket(index))?;
                let connected = published.connect(leader).await;
                if connected.is_err() {
                    self.refused.notify_one();
                }
                connected
            }
            SocketConnection::Port(to) => reach::port(to).await,
            SocketConnection::Datagrams(to) => datagrams::port(to),
        };
        connected.map_err(AgentError::Socket)
    }
}

/// Whether somebody listens at each of the published `sockets`, now and whenever that is otherwise, as the container whose first
/// process is `leader` sees them.
pub fn watch(
    sockets: Arc<Sockets>,
    leader: Pid,
) -> impl Stream<Item = Result<PublishedReply, Status>> + Send {
    stream::unfold((sockets, None), move |(sockets, told)| async move {
        loop {
            let published = sockets.published.iter();
            let found: Vec<bool> = published.map(|socket| socket.listens(leader)).collect();
            if told.as_ref() != Some(&found) {
                let reply = PublishedReply {
                    listening: found.clone(),
                };
                return Some((Ok(reply), (sockets, Some(found))));
            }
            // Either is reason enough.
            let _ = tokio::time::timeout(PERIOD, sockets.refused.notified()).await;
        }
    })
}

/// Answers a request for `connection` when there is one, and carries it until it has ended.
pub async fn serve(
    agent: &Agent,
    connection: SocketConnection,
    request: Request<Incoming>,
) -> Response<Body> {
    let connected = async {
        let (sockets, leader) = agent.sockets()?;
        sockets.connect(connection, leader).await
    };
    match connected.await {
        Ok(stream) => {
            let (relay, body) = Relay::new();
            tokio::spawn(relay.carry(stream, request.into_body()));
            Response::new(body)
        }
        Err(error) => Status::from(error).into_http(),
    }
}

impl Agent {
    /// Listens at the `socket` that leads to the host, or no longer.
    pub async fn listen(&self, socket: usize, listening: bool) -> Result<(), AgentError> {
        let sockets = self.container()?.sockets();
        let host = sockets
            .host
            .get(socket)
            .ok_or(AgentError::NoSocket(socket))?;
        host.set(listening).await.map_err(AgentError::Relisten)
    }

    /// The container's sockets, and its first process.
    pub fn sockets(&self) -> Result<(Arc<Sockets>, Pid), AgentError> {
        let container = self.container()?;
        Ok((container.sockets(), container.leader()))
    }
}
