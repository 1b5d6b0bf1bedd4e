//! Mistakes in the configuration.

use std::fmt;

use super::key::{self, Key};
use super::source::Origin;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub origin: Origin,
    wrong: Wrong,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The file cannot be read.
    File(String),
    /// It is no TOML.
    Syntax(String),
    /// There is no such key.
    Unknown(String),
    /// There is no key that this variable would set.
    Variable(String),
    /// A section has a value.
    Section(String, String),
    /// The value is not of the key's kind.
    Value {
        key: &'static str,
        value: String,
        expected: String,
    },
}

impl Problem {
    pub(super) fn new(origin: Origin, wrong: Wrong) -> Self {
        Self { origin, wrong }
    }

    /// The line that it is on, where it is in a file.
    pub(super) fn line(&self) -> usize {
        match self.origin {
            Origin::File(_, line) => line,
            Origin::Default | Origin::Variable(_) => 0,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => {}
            Origin::File(path, 0) => write!(formatter, "configuration file {}: ", path.display())?,
            Origin::File(path, line) => {
                write!(
                    formatter,
                    "configuration file {}, line {line}: ",
                    path.display()
                )?;
            }
            Origin::Variable(name) => write!(formatter, "variable {name}: ")?,
        }
        let meant = |formatter: &mut fmt::Formatter<'_>, name: Option<String>| match name {
            Some(name) => write!(formatter, ": did you mean {name}?"),
            None => Ok(()),
        };
        match &self.wrong {
            Wrong::File(text) | Wrong::Syntax(text) => formatter.write_str(text),
            Wrong::Unknown(name) => {
                write!(formatter, "there is no key {name}")?;
                meant(formatter, key::closest(name).map(|key| key.name.to_owned()))
            }
            Wrong::Variable(name) => {
                formatter.write_str("it sets no key")?;
                let name = name.strip_prefix(key::VARIABLE_PREFIX).unwrap_or(name);
                let meant_key = key::closest(&name.to_lowercase().replacen('_', ".", 1));
                meant(formatter, meant_key.map(Key::variable))
            }
            Wrong::Section(name, value) => {
                write!(formatter, "{name} is {value}: it is a section, [{name}]")
            }
            Wrong::Value {
                key,
                value,
                expected,
            } => write!(formatter, "{key} is {value}: {expected}"),
        }
    }
}

/// Why the configuration cannot be used: all that is wrong with it, a line each.
#[derive(Debug)]
pub struct SettingsError(pub(super) Vec<Problem>);

impl SettingsError {
    /// What is wrong.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}
