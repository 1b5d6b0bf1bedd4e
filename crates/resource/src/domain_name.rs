//! Names of the domain name system.

/// The longest name, in bytes (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;
/// The longest part of a name between two dots.
const MAX_LABEL: usize = 63;

/// `text` in lower case and without the root's dot; nothing where it is no name. What ends in a number is a mistyped
/// address (RFC 3696, section 2).
pub fn parse(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| !label.starts_with('-') && !label.ends_with('-');
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = name.split('.').all(is_label) && !name.rsplit('.').next().is_some_and(is_number);
    of_container(name).filter(|_| is_name)
}

/// As [`parse`], of what is no host of the internet but has a container's name: its labels may end in a hyphen, and the last one be a number
/// (`redis-7.2`). What has numbers alone every resolver takes for an address.
pub fn of_container(text: &str) -> Option<String> {
    let is_label = |label: &str| {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(is_word)
    };
    let is_address = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    let is_name =
        text.len() <= MAX_NAME && text.split('.').all(is_label) && !text.bytes().all(is_address);
    is_name.then(|| text.to_ascii_lowercase())
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

    #[test]
    fn containers_have_names_that_no_host_has() {
        for text in ["redis-7.2", "web.1", "a-", "db-.x_"] {
            assert_eq!(
                (parse(text), of_container(text).as_deref()),
                (None, Some(text))
            );
        }
        for text in ["", "42", "1.2.3.4", "7.2", "a..b", "web.", "a b"] {
            assert_eq!(of_container(text), None, "{text}");
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
