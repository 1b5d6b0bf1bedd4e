//! Names that egress rules refused, counted by container.
//!
//! The process that answers questions counts and hands its counts over from time to time; the network's process adds them up. Whoever
//! asks chooses the names, and how many there are: both keep a bounded part of them by name.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// The most names of one container that are kept.
pub const MOST_NAMES: usize = 32;
/// The most characters of a name (RFC 1035 section 2.3.4).
const LONGEST: usize = 255;

/// What one container asked for and was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Names with the number of their questions; the one that was asked for last is the last.
    pub names: VecDeque<(String, u64)>,
    /// Questions for all names that are not kept.
    pub others: u64,
}

impl Tally {
    /// Counts questions for `name`. Where there are too many names, that which was asked for the longest time ago goes.
    fn add(&mut self, name: &str, questions: u64) {
        let before = self.names.iter().position(|(known, _)| known == name);
        let before = before.and_then(|place| self.names.remove(place));
        let questions = before
            .map_or(0, |(_, before)| before)
            .saturating_add(questions);
        self.names.push_back((name.to_owned(), questions));
        if self.names.len() > MOST_NAMES {
            let oldest = self.names.pop_front();
            let oldest = oldest.map_or(0, |(_, questions)| questions);
            self.others = self.others.saturating_add(oldest);
        }
    }

    /// Adds what `more` counted since.
    fn merge(&mut self, more: &Self) {
        for (name, questions) in more.names.iter().take(MOST_NAMES) {
            self.add(&harmless(name), *questions);
        }
        self.others = self.others.saturating_add(more.others);
    }
}

/// As it can be shown anywhere: letters, digits and what else names have; a question mark stands for the rest.
fn harmless(name: &str) -> String {
    let shown = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' | '*' => character,
        _ => '?',
    };
    name.chars().take(LONGEST).map(shown).collect()
}

/// The same by tap.
#[derive(Debug, Default)]
pub struct RefusedNames {
    tallies: Mutex<HashMap<String, Tally>>,
    noted: Notify,
}

impl RefusedNames {
    /// Counts a question of the container behind `tap`.
    pub fn note(&self, tap: &str, name: &str) {
        self.with(|tallies| tallies.entry(tap.to_owned()).or_default().add(name, 1));
        self.noted.notify_one();
    }

    /// Waits until there was something to count since the last time.
    pub async fn noted(&self) {
        self.noted.notified().await;
    }

    /// All of it, which is not kept here.
    pub fn take(&self) -> HashMap<String, Tally> {
        self.with(std::mem::take)
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&self, tap: &str, more: &Tally) {
        self.with(|tallies| tallies.entry(tap.to_owned()).or_default().merge(more));
    }

    /// What the container behind `tap` was refused.
    pub fn of(&self, tap: &str) -> Tally {
        self.with(|tallies| tallies.get(tap).cloned().unwrap_or_default())
    }

    /// Forgets the taps that are not to be kept.
    pub fn keep(&self, is_kept: impl Fn(&str) -> bool) {
        self.with(|tallies| tallies.retain(|tap, _| is_kept(tap)));
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<String, Tally>) -> T) -> T {
        change(&mut self.tallies.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_names_are_some_by_name_and_a_sum() {
        let refused = RefusedNames::default();
        for number in 0..1_000_000 {
            refused.note("tap1", &format!("{number}.example.org"));
        }
        refused.note("tap1", "999999.example.org");
        refused.note("tap2", "one.example.org");
        let tally = refused.of("tap1");
        assert_eq!(tally.names.len(), MOST_NAMES);
        assert_eq!(
            tally.names.back().unwrap(),
            &("999999.example.org".to_owned(), 2)
        );
        let named: u64 = tally.names.iter().map(|(_, questions)| questions).sum();
        assert_eq!(named + tally.others, 1_000_001);
        assert_eq!(refused.of("tap2").others, 0);
        refused.keep(|tap| tap == "tap2");
        assert_eq!(refused.of("tap1"), Tally::default());
        assert_eq!(refused.take().len(), 1);
        assert!(refused.take().is_empty());
    }

    #[test]
    fn what_is_handed_over_is_bounded_and_harmless() {
        let refused = RefusedNames::default();
        let many = (0..5000).map(|number| (format!("{number}.example.org"), u64::MAX));
        let more = Tally {
            names: many.collect(),
            others: u64::MAX,
        };
        refused.merge("tap1", &more);
        let hostile = format!("a\u{1b}[2J, b\n\\{}", "x".repeat(9000));
        let more = Tally {
            names: [(hostile, 1)].into(),
            others: 1,
        };
        refused.merge("tap1", &more);
        let tally = refused.of("tap1");
        assert_eq!((tally.names.len(), tally.others), (MOST_NAMES, u64::MAX));
        let (name, _) = tally.names.back().unwrap();
        assert!(
            name.starts_with("a??2J??b??xx") && name.len() == LONGEST,
            "{name}"
        );
    }
}
