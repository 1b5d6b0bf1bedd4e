//! Tar streams, read with one interpretation only, and written.
//!
//! Where formats disagree (POSIX ustar and pax, GNU, V7), the reading is that of Go's `archive/tar`, which
//! made the layers of this world; where that would leave two readings, the stream is refused.

mod header;
mod pax;
mod reader;
mod sparse;
mod writer;

pub use header::Kind;
pub use reader::{Member, Reader};
pub use sparse::Run;
pub use writer::Writer;

/// Bytes per tar record.
pub const BLOCK: usize = 512;

/// Longest path of a member that is written or made, in bytes: deeper than most trees, and an extended header has room for two, of a file and what it is
/// linked to. The kernel takes 4096 at a time (`PATH_MAX` of linux/limits.h), which bounds no tree.
pub const PATH_MAX: usize = 64 << 10;

/// A block that is no member, and no zeros behind the last one: what whoever passes a tar on ends it with where it turned out not to be whole.
/// Of a compressed tar the checksum comes behind all its members.
pub const BROKEN_OFF: [u8; BLOCK] = [0xff; BLOCK];

/// Why a stream is no tar archive, or one with two meanings.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream failed.
    #[error("the archive cannot be read")]
    Io(#[from] std::io::Error),
    /// The stream ends inside a member.
    #[error("the archive is cut off, or is no tar archive")]
    Truncated,
    /// A header's checksum is wrong.
    #[error("a header has a wrong checksum: this is no tar archive, or it is damaged")]
    Checksum,
    /// A field or an extended header does not parse.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// An extended header or a sparse map exceeds its limit.
    #[error("{0} is too large")]
    TooLarge(&'static str),
    /// A member of a type that is not known.
    #[error("a member has the unknown type {:?}", char::from(*.0))]
    UnknownType(u8),
}
