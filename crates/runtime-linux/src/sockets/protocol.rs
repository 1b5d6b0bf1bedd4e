//! What a helper and the keeper of its sockets say to each other ([`container_api::handover`]).

use std::net::SocketAddr;
use std::path::PathBuf;

use container_api::Kind;
use container_resource::container::PublishSocket;
use serde::{Deserialize, Serialize};

/// What the keeper is to do. It answers with an [`Answer`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Sockets that it publishes: they refuse until it is asked to open them.
    pub published: Vec<PublishSocket>,
    /// Sockets that it connects to, whenever it is asked to.
    pub targets: Vec<Target>,
    /// It listens at TCP and UDP ports, whenever it is asked to.
    pub ports: bool,
}

impl Request {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.published.is_empty() && self.targets.is_empty() && !self.ports
    }
}

/// A socket of the host that a container reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Mounted: at this path without links, and its owner's for as long as the container runs.
    Mounted {
        /// The path.
        path: PathBuf,
    },
    /// The client's SSH agent, wherever links lead by then.
    Agent {
        /// The path; nothing: there is none.
        path: Option<PathBuf>,
    },
}

/// How it went.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// All is there. A socket travels beside this, at which it tells of each [`Change`].
    Ready {
        /// What each target is like.
        targets: Vec<Found>,
    },
    /// Something is not.
    Failed {
        /// What kind of error that is.
        kind: Kind,
        /// Why.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
}

/// What a target is like.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Found {
    /// Permission bits.
    pub mode: u32,
    /// Somebody listens there.
    pub listening: bool,
}

/// Somebody listens at a target from now on, or no longer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Change {
    /// Its number.
    pub target: usize,
    /// Which of both.
    pub listening: bool,
}

/// What the helper wants.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// A connection to the target of this number.
    Connect(usize),
    /// A socket that listens at this address.
    Listen(SocketAddr),
    /// A stream with the datagrams ([`container_api::datagrams`]) to this address.
    Datagrams(SocketAddr),
    /// Nothing: none is taken at this address from now on.
    Shut(SocketAddr),
    /// The published socket of this number, which listens from now on.
    Open(usize),
    /// Nothing: that published socket refuses from now on.
    Close(usize),
}

/// The socket travels beside this, where one was asked for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// Error of the kernel.
    pub error: Option<i32>,
}
