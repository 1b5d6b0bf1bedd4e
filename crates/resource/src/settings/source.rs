//! Where settings come from: a file, or the environment.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use container_files::Links;
use toml::Value;
use toml::de::{DeTable, DeValue};

use super::key::{self, KEYS, Key};
use super::problem::{Problem, Wrong};

/// The largest file, in bytes.
pub const FILE_LIMIT: u64 = 1 << 20;
/// Anything may stand in this section, for plugins.
const PLUGINS: &str = "plugin";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is not set.
    Default,
    /// A line of a file, from 1.
    File(PathBuf, usize),
    /// A variable.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File(path, line) => write!(formatter, "{}:{line}", path.display()),
            Self::Variable(name) => formatter.write_str(name),
        }
    }
}

/// What one source says.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub values: Vec<(&'static Key, Value, Origin)>,
    /// Bad values; nothing of the source may be used then.
    pub problems: Vec<Problem>,
    /// Unknown keys.
    pub unknown: Vec<Problem>,
}

impl Source {
    /// A file; nothing when it is missing.
    pub fn file(path: &Path) -> Self {
        let text = match container_files::read_text(path, FILE_LIMIT, Links::Follow) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::default(),
            Err(error) => return Self::broken(path, 0, Wrong::File(error.to_string())),
        };
        Self::text(path, &text)
    }

    fn broken(path: &Path, line: usize, wrong: Wrong) -> Self {
        Self {
            problems: vec![Problem::new(Origin::File(path.to_owned(), line), wrong)],
            ..Self::default()
        }
    }

    /// What stands in the file at `path`.
    pub fn text(path: &Path, text: &str) -> Self {
        let line = |offset: usize| {
            let before = text.as_bytes().iter().take(offset);
            before.filter(|byte| **byte == b'\n').count() + 1
        };
        let syntax = |error: toml::de::Error| {
            let at = error.span().map_or(1, |span| line(span.start));
            Self::broken(path, at, Wrong::Syntax(error.message().to_owned()))
        };
        let places = match DeTable::parse(text) {
            Ok(table) => table,
            Err(error) => return syntax(error),
        };
        let values: toml::Table = match toml::from_str(text) {
            Ok(values) => values,
            Err(error) => return syntax(error),
        };
        let mut source = Self::default();
        let at = |offset| Origin::File(path.to_owned(), line(offset));
        source.table("", places.get_ref(), &values, &at);
        source.problems.sort_by_key(Problem::line);
        source.unknown.sort_by_key(Problem::line);
        source
    }

    /// A section and what is below it. `places` has the places of `values`.
    fn table(
        &mut self,
        prefix: &str,
        places: &DeTable<'_>,
        values: &toml::Table,
        at: &impl Fn(usize) -> Origin,
    ) {
        for (name, place) in places {
            let path = match prefix {
                "" => name.get_ref().to_string(),
                _ => format!("{prefix}.{}", name.get_ref()),
            };
            let Some(value) = values.get(name.get_ref().as_ref()) else {
                continue;
            };
            let origin = at(name.span().start);
            match (key::find(&path), place.get_ref(), value) {
                (Some(key), _, value) => self.value(key, value.clone(), origin),
                (None, _, _) if path == PLUGINS => {}
                (None, DeValue::Table(places), Value::Table(values)) if !values.is_empty() => {
                    self.table(&path, places, values, at);
                }
                (None, DeValue::Table(_), _) if is_section(&path) => {}
                (None, _, value) if is_section(&path) => {
                    let wrong = Wrong::Section(path, value.to_string());
                    self.problems.push(Problem::new(origin, wrong));
                }
                (None, _, _) => self
                    .unknown
                    .push(Problem::new(origin, Wrong::Unknown(path))),
            }
        }
    }

    fn value(&mut self, key: &'static Key, value: Value, origin: Origin) {
        match key.kind.refusal(&value) {
            Some(expected) => {
                let wrong = Wrong::Value {
                    key: key.name,
                    value: value.to_string(),
                    expected,
                };
                self.problems.push(Problem::new(origin, wrong));
            }
            None => self.values.push((key, value, origin)),
        }
    }

    /// Those of `variables` that set keys.
    pub fn environment(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut source = Self::default();
        let ours = variables
            .into_iter()
            .filter(|(name, text)| name.starts_with(key::VARIABLE_PREFIX) && !text.is_empty());
        for (name, text) in ours {
            let origin = Origin::Variable(name.clone());
            match KEYS.iter().find(|key| key.variable() == name) {
                Some(key) => source.value(key, key.kind.read(&text), origin),
                None => source
                    .unknown
                    .push(Problem::new(origin, Wrong::Variable(name))),
            }
        }
        source
    }
}

fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| {
        key.name
            .split_once('.')
            .is_some_and(|(section, _)| section == name)
    })
}
