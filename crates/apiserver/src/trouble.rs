//! Processes that end again and again, as people are told of them.

/// From so many ends in a row on, people are told: one may be an accident.
pub const MANY: u32 = 2;

/// Ends of a process in a row.
#[derive(Clone, Debug, Default)]
pub struct Trouble {
    /// How often it has ended lately.
    pub failures: u32,
    /// What was said of its last end.
    pub message: String,
}

impl Trouble {
    /// Counts one end more, of which this was said.
    pub fn add(&mut self, message: String) {
        self.failures = self.failures.saturating_add(1);
        self.message = message;
    }

    /// It, if people are to be told of it.
    pub fn told(&self) -> Option<Self> {
        (self.failures >= MANY).then(|| self.clone())
    }
}
