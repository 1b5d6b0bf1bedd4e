//! What a runtime helper asks the process of its machine's shares for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Tag of the file system by which a guest mounts its shares: one for all of them.
pub const TAG: &str = "shares";

/// Most shares of one container: each is a mount on the host, and there is a bound on what is said of them.
pub const LIMIT: usize = 256;

/// On standard input of `container-share-virtiofs serve`, as JSON, until its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// What is shared, at most [`LIMIT`]. In the file system the guest finds the first as `0`, the second as `1`.
    pub shares: Vec<Source>,
}

/// A directory or a file of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Absolute path; symbolic links in it are followed, as everywhere on the host.
    pub path: PathBuf,
    /// Nothing that the guest does changes it.
    pub read_only: bool,
}

/// On its standard output, as one line of JSON, when it has either all of them or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// It serves.
    Ready,
    /// It does not, and ends.
    Failed {
        /// Why, in words.
        reason: String,
    },
}
