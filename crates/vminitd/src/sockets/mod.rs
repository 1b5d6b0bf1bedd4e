//! Unix sockets between the container and the host: those of the guest that lead to the host, and those of the container that
//! the host reaches.

mod listen;
mod reach;

use std::sync::Arc;

use container_api::guest::HostSocket;
use container_api::relay::Relay;
use container_api::streams::SocketConnection;
use hyper::body::Incoming;
use hyper::{Request, Response};
use rustix::process::Pid;
use tokio::net::UnixStream;
use tonic::Status;
use tonic::body::Body;

use crate::agent::{Agent, AgentError};
use listen::Listening;
use reach::Published;

/// A container's sockets.
#[derive(Debug, Default)]
pub struct Sockets {
    host: Vec<Listening>,
    published: Vec<Published>,
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
    /// Listens at each socket that leads to the `host`, and takes down the paths that are `published`.
    pub fn open(host: &[HostSocket], published: Vec<String>) -> Result<Self, SocketError> {
        Ok(Self {
            host: listen::all(host)?,
            published: published.into_iter().map(Published::at).collect(),
        })
    }

    /// The next `connection` to a socket that leads to the host, or one to a socket of the container, whose first process is
    /// `leader`.
    async fn connect(
        &self,
        connection: SocketConnection,
        leader: Pid,
    ) -> Result<UnixStream, AgentError> {
        let (index, known) = match connection {
            SocketConnection::Accept(index) => (index, self.host.len()),
            SocketConnection::Connect(index) => (index, self.published.len()),
        };
        if index >= known {
            return Err(AgentError::NoSocket(index));
        }
        let connected = match connection {
            SocketConnection::Accept(index) => self.host[index].accept().await,
            SocketConnection::Connect(index) => self.published[index].connect(leader).await,
        };
        connected.map_err(AgentError::Socket)
    }
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
    /// The container's sockets, and its first process.
    fn sockets(&self) -> Result<(Arc<Sockets>, Pid), AgentError> {
        let container = self.container()?;
        Ok((container.sockets(), container.leader()))
    }
}
