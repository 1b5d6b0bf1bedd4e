//! What is wrong with a part of the system, as people are told of it: mostly that its process ends again and again.

/// From so many ends in a row on, people are told: one may be an accident.
pub const MANY: u32 = 2;

/// Ends of a process in a row.
#[derive(Clone, Debug, Default)]
pub struct Trouble {
    /// How often it has ended lately; 0: something else is wrong.
    pub failures: u32,
    /// What was said of its last end, or what else is wrong.
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
