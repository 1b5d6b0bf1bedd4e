//! Names of the domain name system.

/// The longest name, in bytes (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;
/// The longest part of a name between two dots.
const MAX_LABEL: usize = 63;

/// `text` in lower case and without the root's dot; nothing where it is no name. What ends in a number is a mistyped
/// address (RFC 3696, section 2).
pub fn parse(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let numeric = name
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    let valid = name.len() <= MAX_NAME && name.split('.').all(label) && !numeric;
    valid.then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_have_one_spelling() {
        for (text, name) in [
            ("Db", "db"),
            ("a_b.Example.org.", "a_b.example.org"),
            ("0.x", "0.x"),
        ] {
            assert_eq!(parse(text).as_deref(), Some(name));
        }
        let long = "a".repeat(64);
        for text in [
            "", ".", "a..b", "-a", "a-", "a b", "ä", "1.2.3.4", "7", "*.a", &long,
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_one_word(text in "\\PC{0,40}|[a-z.-]{0,20}") {
            if let Some(name) = parse(&text) {
                prop_assert!(!name.is_empty() && !name.contains(char::is_whitespace));
                prop_assert_eq!(parse(&name), Some(name));
            }
        }
    }
}
