//! How a process ended.

/// Exit code of a process whose end is not known.
const LOST: i32 = 255;

/// How a process ended, with its output handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Exit status, or 128 + signal.
    pub exit_code: i32,
    /// When the guest said so.
    pub at: jiff::Timestamp,
    /// The guest's kernel killed a process of the container for lack of memory.
    pub oom_killed: bool,
    /// Why, where that was not the process's own exit.
    pub reason: Option<String>,
}

impl Ended {
    /// An end that nobody saw.
    pub fn lost(reason: String) -> Self {
        Self {
            exit_code: LOST,
            at: jiff::Timestamp::now(),
            oom_killed: false,
            reason: Some(reason),
        }
    }
}
