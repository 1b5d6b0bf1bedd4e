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
mod tar_input;
mod terminal;

pub use agent::ssh_agent;
pub use ended::ended;
pub use foreground::{Foreground, ProcessRef, signalled};
pub use operation::{Output, Owner, done, operate, pipe};
pub use signals::{Event, Signals};
pub use streams::{ClientStdio, detached};
pub use tar_input::operate_on_tar;
pub use terminal::{TerminalMode, is_changed, restore_on_panic, stop};
