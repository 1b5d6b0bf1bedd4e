//! The kinds of values of keys.

use std::path::Path;

use toml::Value;

use crate::digest::Digest;
use crate::reference::{self, Reference};
use crate::{domain_name, insecure, size, subnet};

/// A kind of values.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// True or false.
    Switch,
    /// A whole number in a range, whose ends are in it.
    Count(u32, u32),
    /// Memory of a machine, as `2gb`.
    Memory,
    /// Bytes, as `512mb`.
    Size {
        /// The least number of them.
        least: u64,
    },
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A registry, for references that name none.
    Registry,
    /// Registries that TLS is not asked of.
    InsecureRegistries,
    /// A reference of an image.
    Image,
    /// An IPv4 network.
    Subnet4,
    /// An IPv6 network.
    Subnet6,
    /// A name of the domain name system.
    Domain,
    /// A SHA-256 digest.
    Digest,
    /// An absolute path.
    File,
    /// Anything that is not empty.
    Text,
}

impl Kind {
    /// Virtual CPUs of a machine.
    pub const CPUS: Self = Self::Count(1, 1024);

    /// What is wrong with `value`: what is expected in its place.
    pub fn refusal(self, value: &Value) -> Option<String> {
        match (self, value) {
            (Self::Switch, Value::Boolean(_)) => None,
            (Self::Switch, _) => Some("true or false is expected".to_owned()),
            (Self::Count(least, most), value) => {
                let number = value.as_integer();
                let is_fine = number
                    .is_some_and(|number| (i64::from(least)..=i64::from(most)).contains(&number));
                (!is_fine).then(|| format!("a whole number from {least} to {most} is expected"))
            }
            (Self::InsecureRegistries, value) => insecure_refusal(value),
            (kind, Value::String(text)) => kind.text_refusal(text),
            (Self::OneOf(words), _) => Some(one_of(words)),
            (_, _) => Some("text in quotes is expected".to_owned()),
        }
    }

    fn text_refusal(self, text: &str) -> Option<String> {
        let expected =
            |holds: bool, expected: &str| (!holds).then(|| format!("{expected} is expected"));
        match self {
            Self::Memory => size::parse_memory(text)
                .err()
                .map(|error| error.to_string()),
            Self::Size { least } => match size::parse(text) {
                Ok(bytes) if bytes >= least => None,
                Ok(_) => Some(format!("at least {least} byte is expected")),
                Err(error) => Some(error.to_string()),
            },
            Self::OneOf(words) => (!words.contains(&text)).then(|| one_of(words)),
            Self::Registry => expected(
                reference::is_registry(text),
                "a host name with a dot or a port, or localhost, without a scheme or a path",
            ),
            Self::Image => {
                let parsed = text.parse::<Reference>();
                parsed.err().map(|error| error.to_string())
            }
            Self::Subnet4 => {
                let parsed = subnet::ipv4(text);
                parsed.err().map(|error| error.to_string())
            }
            Self::Subnet6 => {
                let parsed = subnet::ipv6(text);
                parsed.err().map(|error| error.to_string())
            }
            Self::Domain => expected(domain_name::parse(text).is_some(), "a domain name"),
            Self::Digest => {
                let parsed = text.parse::<Digest>();
                parsed.err().map(|error| error.to_string())
            }
            Self::File => expected(Path::new(text).is_absolute(), "an absolute path"),
            Self::Text => expected(!text.is_empty(), "text"),
            // These are no texts.
            Self::Switch | Self::Count(..) | Self::InsecureRegistries => None,
        }
    }

    /// A text of the environment as a value: it has no quotes and brackets.
    pub fn read(self, text: &str) -> Value {
        let plain = || Value::String(text.to_owned());
        match self {
            Self::Switch => text.parse().map_or_else(|_| plain(), Value::Boolean),
            Self::Count(..) => text.parse().map_or_else(|_| plain(), Value::Integer),
            Self::InsecureRegistries => {
                let entries = text.split(',').map(str::trim);
                let entries = entries.filter(|entry| !entry.is_empty());
                Value::Array(
                    entries
                        .map(|entry| Value::String(entry.to_owned()))
                        .collect(),
                )
            }
            _ => plain(),
        }
    }
}

fn one_of(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("{} is expected", words.join(" or "))
}

fn insecure_refusal(value: &Value) -> Option<String> {
    let Some(entries) = value.as_array() else {
        return Some("a list of registries in brackets is expected".to_owned());
    };
    let is_entry = |entry: &Value| entry.as_str().is_some_and(insecure::is_entry);
    let wrong = entries.iter().find(|entry| !is_entry(entry))?;
    Some(format!(
        "{wrong} is no host name or address, with or without a port, and no network such as 10.0.0.0/8"
    ))
}
