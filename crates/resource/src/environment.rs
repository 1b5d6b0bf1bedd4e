//! Environments: `--env`, `--env-file`, and how they are laid over the image's.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

/// The largest environment file, in bytes.
const FILE_LIMIT: u64 = 1 << 20;

/// Why a variable or a file of them is not understood.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// Nothing before the `=`.
    #[error("environment variable '{0}' has no name")]
    NoName(String),
    /// A NUL cannot be handed to a process.
    #[error("environment variable '{0}' contains a NUL character")]
    Nul(String),
    /// White space in a name is always a mistake.
    #[error("environment variable name '{0}' contains white space")]
    WhiteSpace(String),
    /// The file cannot be read or is not UTF-8.
    #[error("the file cannot be read")]
    Read(#[source] io::Error),
    /// More than 1 MiB.
    #[error("the file is larger than 1 MiB")]
    TooLarge,
    /// A line of a file.
    #[error("line {0}")]
    Line(usize, #[source] Box<EnvironmentError>),
}

/// One variable: `KEY=value`, or `KEY` alone, which takes its value from `host`. `None` when the host has none.
///
/// # Errors
/// When there is no name, or one that no process could have.
pub fn parse(
    text: &str,
    host: impl FnOnce(&str) -> Option<String>,
) -> Result<Option<String>, EnvironmentError> {
    let name = text.split_once('=').map_or(text, |(name, _)| name);
    if name.is_empty() {
        return Err(EnvironmentError::NoName(text.to_owned()));
    }
    if text.contains('\0') {
        return Err(EnvironmentError::Nul(text.replace('\0', "\\0")));
    }
    if name.contains(char::is_whitespace) {
        return Err(EnvironmentError::WhiteSpace(name.to_owned()));
    }
    if name.len() < text.len() {
        return Ok(Some(text.to_owned()));
    }
    Ok(host(name).map(|value| format!("{name}={value}")))
}

/// The variables of a file: one to a line, `#` comments and blank lines left out. It is read as a stream, so it
/// may be a pipe.
///
/// # Errors
/// When it cannot be read, is too large, or a line is wrong.
pub fn parse_file(
    file: impl BufRead,
    host: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, EnvironmentError> {
    let mut text = String::new();
    file.take(FILE_LIMIT + 1)
        .read_to_string(&mut text)
        .map_err(EnvironmentError::Read)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > FILE_LIMIT) {
        return Err(EnvironmentError::TooLarge);
    }
    let mut variables = Vec::new();
    // Editors put a byte order mark there.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let variable = parse(line, &host)
            .map_err(|error| EnvironmentError::Line(index + 1, Box::new(error)))?;
        variables.extend(variable);
    }
    Ok(variables)
}

/// Lays `layers` over each other: the last value of a name wins and stands where the name first stood. Entries
/// without a `=` (some images have them) are left out.
pub fn merge<'a>(layers: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let mut merged: Vec<String> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for entry in layers {
        let Some((name, _)) = entry.split_once('=') else {
            continue;
        };
        if let Some(&place) = places.get(name) {
            merged[place].clone_from(entry);
        } else {
            places.insert(name, merged.len());
            merged.push(entry.clone());
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_owned())
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn a_bare_name_comes_from_the_host() {
        let value = |text| parse(text, host).unwrap();
        assert_eq!(value("HOME").as_deref(), Some("HOME=/root"));
        assert_eq!(value("ABSENT"), None);
        assert_eq!(value("A=").as_deref(), Some("A="));
        assert_eq!(value("A=b=c d").as_deref(), Some("A=b=c d"));
    }

    #[test]
    fn names_are_checked() {
        for text in ["", "=x", "A B=1", " A=1", "A=\0"] {
            assert!(parse(text, host).is_err(), "{text:?}");
        }
    }

    #[test]
    fn files_have_comments_and_line_numbers() {
        let file = "\u{feff}# one\n\n  A=1\r\nHOME\nABSENT\nB=#2\n".as_bytes();
        assert_eq!(
            parse_file(file, host).unwrap(),
            ["A=1", "HOME=/root", "B=#2"]
        );
        let error = parse_file(b"A=1\n=2\n".as_slice(), host).unwrap_err();
        assert_eq!(error.to_string(), "line 2");
        assert!(matches!(
            parse_file(io::BufReader::new(io::repeat(b'a')), host),
            Err(EnvironmentError::TooLarge)
        ));
    }

    #[test]
    fn the_last_value_wins_in_the_first_place() {
        let layers = strings(&["A=1", "B=1", "junk", "A=2", "C=1", "B="]);
        assert_eq!(merge(&layers), ["A=2", "B=", "C=1"]);
    }

    proptest! {
        #[test]
        fn merging_is_what_a_map_does(entries in proptest::collection::vec("[A-C]?=?[0-9]?", 0..20)) {
            let merged = merge(&entries);
            let model: HashMap<&str, &str> = entries.iter().filter_map(|e| e.split_once('=')).collect();
            let ours: HashMap<&str, &str> = merged.iter().filter_map(|e| e.split_once('=')).collect();
            prop_assert_eq!(merged.len(), ours.len());
            prop_assert_eq!(ours, model);
        }
    }
}
