//! Progress reports of a transfer.

use container_api::images as wire;
use container_resource::digest::Digest;

/// Where a blob, or the whole transfer, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The name is looked up.
    Resolving,
    /// Bytes come in; layers are unpacked as they do.
    Downloading,
    /// A layer that was there already is unpacked.
    Unpacking,
    /// Bytes go out.
    Uploading,
    /// Nothing needs to be moved.
    Exists,
    /// All of it is there.
    Done,
}

/// As it goes over the wire.
impl From<Phase> for wire::Phase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Resolving => Self::Resolving,
            Phase::Downloading => Self::Downloading,
            Phase::Unpacking => Self::Unpacking,
            Phase::Uploading => Self::Uploading,
            Phase::Exists => Self::Exists,
            Phase::Done => Self::Done,
        }
    }
}

/// One line of progress. Without a digest it is about the whole transfer.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Of the blob.
    pub digest: Option<Digest>,
    /// Where it is.
    pub phase: Phase,
    /// Moved so far.
    pub bytes: u64,
    /// To be moved.
    pub total: u64,
}

/// Takes progress lines; must not block.
pub type Report = std::sync::Arc<dyn Fn(Progress) + Send + Sync>;

/// Bytes between two lines about one blob.
pub(super) const STEP: u64 = 1 << 20;
