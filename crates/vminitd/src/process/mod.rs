//! Processes as the agent sees them: how they start, what they read and write, how they end.

mod clone;
mod input;
mod lifetime;
mod output;
mod report;
mod spawn;
mod table;
mod terminal;

pub use input::Input;
pub use lifetime::Process;
pub use output::output;
pub use report::Reporter;
pub use spawn::{Birth, Inside, SpawnError, StdioOptions, archive, first, idle, join};
pub use table::{Table, TableError};
