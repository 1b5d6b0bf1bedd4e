//! A client of BuildKit: it sends a build's context by difference, answers what the builder asks its client for meanwhile, and tells of the
//! progress. It speaks `moby.buildkit.v1.Control` to a `buildkitd`, or to the BuildKit inside a dockerd.
//!
//! What comes from the builder is hostile: it runs other people's Dockerfiles. It is given what the build names and no more.

mod connection;
mod content;
mod context;
mod docker;
mod excerpt;
mod generated;
mod session;
mod solve;
mod trace;

pub use connection::{Abilities, Connection, ConnectionError, Engine};
pub use content::{ContentError, Store};
pub use context::{Context, ContextError, Pattern, PatternError, Wanted, send};
pub use docker::{Docker, DockerError};
pub use excerpt::Excerpt;
pub use session::{Agent, Secret, Session, SessionError, Sink, Sources, Upload};
pub use solve::{Build, CacheEntry, Output, SolveError, Solved};
pub use trace::{Change, Step, StepState, Trace, Transfer, Update, Warning, raw_json};

/// The image of a builder whose protocol this client knows whole.
pub const DEFAULT_IMAGE: &str = bollard_buildkit_proto::provenance::DEFAULT_IMAGE;

/// What the builder's messages are made of.
pub mod protocol {
    pub use bollard_buildkit_proto::google::protobuf::Timestamp as Moment;
    pub use bollard_buildkit_proto::moby::buildkit::v1::{Vertex, VertexLog, VertexStatus};

    pub use crate::generated::content;
}
