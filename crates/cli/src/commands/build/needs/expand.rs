//! Variables in a Dockerfile's words.

use std::collections::HashMap;

/// Puts `arguments` into `text`: `$key`, `${key}`, and with `:-`, `-`, `:+` and `+` what stands for one that is not there, or is. `None`:
/// only the builder knows what it means.
pub fn expand(text: &str, arguments: &HashMap<String, String>) -> Option<String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        expanded.push_str(before);
        let (inner, after) = if let Some(inner) = behind.strip_prefix('{') {
            let end = closing(inner)?;
            (&inner[..end], &inner[end + 1..])
        } else {
            behind.split_at(name_length(behind))
        };
        let (name, modifier) = inner.split_at(name_length(inner));
        if name.is_empty() {
            return None;
        }
        let (modifier, counts_empty) = match modifier.strip_prefix(':') {
            Some(modifier) => (modifier, false),
            None => (modifier, true),
        };
        let value = arguments.get(name).map(String::as_str);
        let value = value.filter(|value| counts_empty || !value.is_empty());
        match (modifier.chars().next(), value) {
            (None, value) => expanded.push_str(value.unwrap_or_default()),
            (Some('-'), Some(value)) => expanded.push_str(value),
            (Some('-'), None) | (Some('+'), Some(_)) => {
                expanded.push_str(&expand(&modifier[1..], arguments)?);
            }
            (Some('+'), None) => {}
            _ => return None,
        }
        rest = after;
    }
    Some(expanded + rest)
}

/// Bytes of the name at the beginning of `text`.
fn name_length(text: &str) -> usize {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    end.unwrap_or(text.len())
}

/// Where the brace is that closes what has begun before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1_usize;
    let end = text.char_indices().find(|(_, character)| {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    end.map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in() {
        let arguments = [("a", "1"), ("b", ""), ("long_Name2", "x")];
        let arguments = arguments.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let arguments = HashMap::from(arguments);
        for (text, expected) in [
            ("x:$a-$none.", Some("x:1-.")),
            ("$long_Name2/${a}0", Some("x/10")),
            ("${b:-e}${b-e}${none-e}${none:-e}", Some("eee")),
            ("${a:+p}${b:+p}${b+p}${none+p}", Some("pp")),
            ("${none:-x:${a}}", Some("x:1")),
            ("plain", Some("plain")),
            ("${a%-*}", None),
            ("${a:?no}", None),
            ("${a", None),
            ("$", None),
            ("${}", None),
        ] {
            assert_eq!(expand(text, &arguments).as_deref(), expected, "{text}");
        }
    }
}
