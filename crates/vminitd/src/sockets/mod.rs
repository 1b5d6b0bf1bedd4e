//! Sockets between the container and the host: those of the guest that lead to the host, and those of the container that
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
        let connected = match connection {
            SocketConnection::Accept(index) => {
                let listening = self.host.get(index);
                listening.ok_or(AgentError::NoSocket(index))?.accept().await
            }
            SocketConnection::Connect(index) => {
                let published = self.published.get(index);
                let published = published.ok_or(AgentError::NoSocket(index))?;
                published.connect(leader).await
            }
            SocketConnection::Port { port, ipv6 } => reach::port(port, ipv6).await,
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
