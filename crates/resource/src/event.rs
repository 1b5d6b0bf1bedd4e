//! Events of containers, as `events` shows them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Something that happened to a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// What.
    pub action: Action,
    /// The container.
    pub id: String,
    /// More of it, by the words of [`Attribute`].
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// What the event says of `attribute`.
    pub fn attribute(&self, attribute: Attribute) -> Option<&str> {
        self.attributes.get(attribute.word()).map(String::as_str)
    }
}

/// What can happen to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// It was made.
    Create,
    /// Its first process runs.
    Start,
    /// It ended.
    Die,
    /// Somebody stopped it.
    Stop,
    /// A signal was sent to one of its processes.
    Kill,
    /// Its processes were frozen.
    Pause,
    /// They go on.
    Unpause,
    /// Its policy starts it again.
    Restart,
    /// It has another name.
    Rename,
    /// It is gone.
    Delete,
    /// The kernel killed one of its processes for lack of memory.
    Oom,
    /// Its health is another.
    Health,
    /// A further process runs in it.
    Exec,
    /// Its egress rules refused packets or names.
    Refuse,
    /// It is on a further network.
    Connect,
    /// It is not on one any more.
    Disconnect,
    /// Its machine stands still, as the host has no room for what it writes.
    Stall,
    /// There is room again, and its machine goes on.
    Proceed,
}

impl Action {
    /// Every one.
    pub const ALL: [Self; 18] = [
        Self::Create,
        Self::Start,
        Self::Die,
        Self::Stop,
        Self::Kill,
        Self::Pause,
        Self::Unpause,
        Self::Restart,
        Self::Rename,
        Self::Delete,
        Self::Oom,
        Self::Health,
        Self::Exec,
        Self::Refuse,
        Self::Connect,
        Self::Disconnect,
        Self::Stall,
        Self::Proceed,
    ];

    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Die => "die",
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Restart => "restart",
            Self::Rename => "rename",
            Self::Delete => "delete",
            Self::Oom => "oom",
            Self::Health => "health",
            Self::Exec => "exec",
            Self::Refuse => "refuse",
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::Stall => "stall",
            Self::Proceed => "proceed",
        }
    }

    /// Whether it happens so often that a log would be full of it.
    pub const fn is_frequent(self) -> bool {
        matches!(self, Self::Exec | Self::Health | Self::Refuse)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// There is no such word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is none of {}", known.join(", "))]
pub struct UnknownWord {
    word: String,
    known: Vec<&'static str>,
}

/// Which of `all` is written as `text`.
fn read<T: Copy, const N: usize>(
    text: &str,
    all: [T; N],
    word: fn(T) -> &'static str,
) -> Result<T, UnknownWord> {
    let found = all.into_iter().find(|one| word(*one) == text);
    found.ok_or_else(|| UnknownWord {
        word: text.to_owned(),
        known: all.map(word).into(),
    })
}

impl FromStr for Action {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        read(text, Self::ALL, Self::word)
    }
}

/// What an event may say beside the action and the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// How many times in a row the policy has started it.
    Attempt,
    /// Where packets that were refused were for, some of them, with a comma between them.
    Destinations,
    /// Exit code of the first process.
    ExitCode,
    /// [`crate::container::HealthState`].
    Health,
    /// Where its machine came from: [`Origin`].
    Machine,
    /// How long the start took.
    Milliseconds,
    /// Network on which something was refused, or that it came to or left.
    Network,
    /// Names that were refused, the last ones, with a comma between them.
    Names,
    /// The name that it had.
    OldId,
    /// How many packets were refused.
    Packets,
    /// Id of the further process.
    Process,
    /// How many questions for names were refused.
    Questions,
    /// Why it ended, where that was not its own process's exit; or what a stall is for: [`crate::standstill::Standstill`].
    Reason,
    /// Number of the signal.
    Signal,
}

impl Attribute {
    /// Every one.
    pub const ALL: [Self; 14] = [
        Self::Attempt,
        Self::Destinations,
        Self::ExitCode,
        Self::Health,
        Self::Machine,
        Self::Milliseconds,
        Self::Network,
        Self::Names,
        Self::OldId,
        Self::Packets,
        Self::Process,
        Self::Questions,
        Self::Reason,
        Self::Signal,
    ];

    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Destinations => "destinations",
            Self::ExitCode => "exitCode",
            Self::Health => "health",
            Self::Machine => "machine",
            Self::Milliseconds => "milliseconds",
            Self::Network => "network",
            Self::Names => "names",
            Self::OldId => "oldId",
            Self::Packets => "packets",
            Self::Process => "process",
            Self::Questions => "questions",
            Self::Reason => "reason",
            Self::Signal => "signal",
        }
    }
}

impl FromStr for Attribute {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        read(text, Self::ALL, Self::word)
    }
}

/// Where the machine of a start came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Its kernel was booted for it.
    Cold,
    /// It was restored from a template.
    Template,
    /// It waited for a container.
    Standby,
}

impl Origin {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Cold, Self::Template, Self::Standby];

    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Template => "template",
            Self::Standby => "standby",
        }
    }
}

impl FromStr for Origin {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        read(text, Self::ALL, Self::word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_json_and_are_read_again() {
        for action in Action::ALL {
            let json = serde_json::to_value(action).unwrap();
            assert_eq!(json, action.word());
            assert_eq!(action.word().parse(), Ok(action));
        }
        for attribute in Attribute::ALL {
            assert_eq!(attribute.word().parse(), Ok(attribute));
        }
        for origin in Origin::ALL {
            assert_eq!(origin.word().parse(), Ok(origin));
        }
        let error = "dei".parse::<Action>().unwrap_err().to_string();
        assert!(
            error.starts_with("\"dei\" is none of create, start"),
            "{error}"
        );
    }

    #[test]
    fn an_event_has_the_form_that_is_shown() {
        let event = Event {
            time: Timestamp::UNIX_EPOCH,
            action: Action::Die,
            id: "web".into(),
            attributes: [("exitCode".to_owned(), "3".to_owned())].into(),
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"time":"1970-01-01T00:00:00Z","action":"die","id":"web","attributes":{"exitCode":"3"}}"#
        );
        assert_eq!(event.attribute(Attribute::ExitCode), Some("3"));
        assert_eq!(event.attribute(Attribute::Reason), None);
    }
}
