//! Names of networks.

use crate::network::NONE;

/// Names that mean something else than a network.
const RESERVED: [&str; 4] = [NONE, "host", "container", "ns"];
/// The longest name, in bytes.
const MAX_LENGTH: usize = 63;

/// Why a text is no name of a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkNameError {
    /// It means something else.
    #[error("invalid network name '{0}': it is reserved")]
    Reserved(String),
    /// Other characters than are allowed, or at another place, or too many.
    #[error(
        "invalid network name '{0}': 1 to {MAX_LENGTH} lower-case letters, digits, '.', '_' and '-' are allowed, \
         letters and digits at both ends"
    )]
    Form(String),
}

/// Checks `^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$` (as Apple's container has it) and that the name is not reserved.
///
/// A name that passes is a safe file name.
///
/// # Errors
/// The first rule that `name` breaks.
pub fn validate(name: &str) -> Result<(), NetworkNameError> {
    let end = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let bytes = name.as_bytes();
    let inner =
        |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(byte);
    if bytes.len() > MAX_LENGTH
        || !end(bytes.first())
        || !end(bytes.last())
        || !bytes.iter().all(inner)
    {
        return Err(NetworkNameError::Form(name.to_owned()));
    }
    if RESERVED.contains(&name) {
        return Err(NetworkNameError::Reserved(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_grammar_is_the_reference_s() {
        for name in ["a", "default", "a.b_c-d", "0", &"a".repeat(63)] {
            assert_eq!(validate(name), Ok(()), "{name}");
        }
        for name in [
            "",
            "-a",
            "a-",
            ".",
            "..",
            "A",
            "a b",
            "a/b",
            "ä",
            &"a".repeat(64),
        ] {
            assert!(
                matches!(validate(name), Err(NetworkNameError::Form(_))),
                "{name}"
            );
        }
        for name in RESERVED {
            assert!(matches!(validate(name), Err(NetworkNameError::Reserved(_))));
        }
    }

    proptest! {
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
