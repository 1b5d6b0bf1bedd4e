//! Names of containers.

/// The longest name, in bytes: one DNS label.
pub const MAX_LENGTH: usize = 63;

/// Why a text is no name of a container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// One byte or none.
    #[error("invalid container name '{0}': at least 2 characters are needed")]
    TooShort(String),
    /// More than [`MAX_LENGTH`] bytes.
    #[error("invalid container name of {0} bytes: at most {MAX_LENGTH} are allowed")]
    TooLong(usize),
    /// A character that is not allowed at its place.
    #[error(
        "invalid container name '{name}': {found:?} is not allowed {place} \
         (letters, digits, '_', '.' and '-'; the first is a letter or digit)"
    )]
    Character {
        /// The whole text.
        name: String,
        /// The first wrong character.
        found: char,
        /// Where it stands.
        place: &'static str,
    },
}

/// Checks `^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`, at most 63 bytes (as Apple's container has it).
///
/// A name that passes is a safe file name: it is never `.` or `..` and holds no slash.
///
/// # Errors
/// The first rule that `name` breaks.
pub fn validate(name: &str) -> Result<(), NameError> {
    if name.len() > MAX_LENGTH {
        return Err(NameError::TooLong(name.len()));
    }
    let wrong = |found, place| NameError::Character {
        name: name.to_owned(),
        found,
        place,
    };
    let mut characters = name.chars();
    if let Some(first) = characters.next().filter(|c| !c.is_ascii_alphanumeric()) {
        return Err(wrong(first, "at the start"));
    }
    let rest = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if let Some(found) = characters.find(rest) {
        return Err(wrong(found, "in a name"));
    }
    if name.len() < 2 {
        return Err(NameError::TooShort(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_refused() {
        for name in [
            "", "a", "-ab", ".ab", "..", "../x", "a/b", "a b", "ä1", "a\0b", "aé",
        ] {
            assert!(validate(name).is_err(), "{name:?}");
        }
        assert!(validate(&"a".repeat(64)).is_err());
    }

    #[test]
    fn what_is_accepted() {
        for name in [
            "ab",
            "A1",
            "web_1.test-x",
            "0d9b51f6-6f5c-4a5b-8c0e-000000000000",
        ] {
            assert_eq!(validate(name), Ok(()));
        }
        assert_eq!(validate(&"a".repeat(63)), Ok(()));
    }

    proptest! {
        #[test]
        fn the_grammar_is_the_reference_s(name in "[a-zA-Z0-9][a-zA-Z0-9_.-]{1,62}") {
            prop_assert!(validate(&name).is_ok());
        }

        #[test]
        fn whatever_passes_is_one_plain_path_component(name in "\\PC{0,70}") {
            if validate(&name).is_ok() {
                let path = std::path::Path::new(&name);
                let components: Vec<_> = path.components().collect();
                prop_assert!(matches!(components[..], [std::path::Component::Normal(_)]));
            }
        }
    }
}
