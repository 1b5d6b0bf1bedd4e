//! Standard streams: between the client's descriptors and the guest's streams.
//!
//! The client's descriptors may be its terminal, a pipe or a file, and are shared with other processes, so
//! they are never made non-blocking: each has a thread of its own that polls before it reads or writes.

mod fanout;
mod input;
mod lifeline;
mod log;
mod sink;
mod source;

use std::os::fd::OwnedFd;

pub use fanout::Fanout;
pub use input::{Input, InputStream};
pub use lifeline::Lifeline;
pub use log::LogFile;
pub use sink::Sink;
pub use source::Source;

/// Bytes read from a client at once.
const CHUNK: usize = 128 << 10;
/// Chunks that wait for a slow side before the other one must wait too.
const QUEUE: usize = 4;

/// A client's descriptors; those that are absent are not connected.
#[derive(Debug, Default)]
pub struct Stdio {
    /// Read for the process's standard input.
    pub stdin: Option<OwnedFd>,
    /// Receives its standard output.
    pub stdout: Option<OwnedFd>,
    /// Receives its standard error.
    pub stderr: Option<OwnedFd>,
    /// A socket that ends with the client.
    pub lifeline: Option<OwnedFd>,
    /// Size of its terminal.
    pub size: Option<TerminalSize>,
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters of a line.
    pub columns: u16,
}

impl TerminalSize {
    /// The size that a client tells; nothing where it knows none.
    pub fn told(rows: u32, columns: u32) -> Option<Self> {
        let size = Self {
            rows: rows.try_into().ok()?,
            columns: columns.try_into().ok()?,
        };
        (size.rows > 0 && size.columns > 0).then_some(size)
    }
}
