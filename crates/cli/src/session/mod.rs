//! A client attached to a process: its streams, its terminal and its signals (reference appendix C).

mod detach;
mod ended;
mod foreground;
mod signals;
mod streams;
mod terminal;

pub use ended::ended;
pub use foreground::{Foreground, Process, signalled};
pub use signals::{Event, Signals};
pub use streams::Streams;
pub use terminal::{TerminalMode, restore_on_panic};
