//! Environments: the variables of `--env` and `--env-file`, and how they are laid over the image's.

use std::collections::HashMap;

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
