//! Processes as the agent sees them: how they start, what they read and write, how they end.

mod clone;
mod input;
mod output;
mod report;
mod spawn;
mod table;


pub use input::Input;
pub use output::{output, Scratch};
pub use report::Reporter;
pub use spawn::{first, join, Birth, Inside, SpawnError, Wanted};
pub use table::{Process, Stream, Table, TableError};
