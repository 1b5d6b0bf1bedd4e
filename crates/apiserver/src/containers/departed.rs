//! Runs of containers that have removed themselves: whoever started one may ask for its end a little later.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use container_resource::bundle::Exit;

/// The most runs that are remembered. Those who ask do so within milliseconds.
const REMEMBERED: usize = 512;

/// The latest runs of containers that are gone, oldest first.
#[derive(Debug, Default)]
pub struct Departed {
    runs: Mutex<VecDeque<(String, Exit)>>,
}

impl Departed {
    /// Remembers how `run` ended. One without a name, of an earlier apiserver, nobody can ask for.
    pub fn add(&self, run: String, exit: Exit) {
        if run.is_empty() {
            return;
        }
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.len() == REMEMBERED {
            runs.pop_front();
        }
        runs.push_back((run, exit));
    }

    /// How `run` ended.
    pub fn find(&self, run: &str) -> Option<Exit> {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.iter()
            .rev()
            .find(|(name, _)| name == run)
            .map(|(_, exit)| exit.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let departed = Departed::default();
        let nameless: Exit = serde_json::from_value(serde_json::json!({
            "exitCode": 4, "exited": "2026-01-01T00:00:00Z"
        }))
        .unwrap();
        departed.add(String::new(), nameless);
        assert!(departed.find("").is_none());
        for number in 0..=REMEMBERED {
            let exit: Exit = serde_json::from_value(serde_json::json!({
                "exitCode": 5, "exited": "2026-01-01T00:00:00Z"
            }))
            .unwrap();
            departed.add(number.to_string(), exit);
        }
        assert!(departed.find("0").is_none());
        assert_eq!(departed.find("1").unwrap().exit_code, 5);
    }
}
