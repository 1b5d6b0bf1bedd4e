//! A client attached to a process: its streams, its terminal and its signals (reference appendix C).

mod agent;
mod detach;
mod ended;
mod foreground;
mod keyboard;
mod lifeline;
mod operation;
mod relay;
mod resizer;
mod signals;
mod streams;
mod terminal;

pub use agent::ssh_agent;
pub use ended::ended;
pub use foreground::{Foreground, ProcessRef, signalled};
pub use operation::{Owner, operate, pipe};
pub use signals::{Event, Signals};
pub use streams::{ClientStdio, detached};
pub use terminal::{TerminalMode, is_changed, restore_on_panic, stop};
