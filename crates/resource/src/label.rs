//! Labels, and the labels that this tool itself uses.

/// The longest key, in bytes.
const MAX_KEY: usize = 128;
/// The longest `key=value`, in bytes.
const MAX_LABEL: usize = 4096;

/// Keys that Apple's tool gives a meaning to (as Apple's container has it).
pub mod well_known {
    /// Plugin that manages the resource: `machine`, `k8s`.
    pub const PLUGIN: &str = "com.apple.container.plugin";
    /// What the resource is to the system itself: `builder`, `builtin`.
    pub const ROLE: &str = "com.apple.container.resource.role";
    /// An anonymous volume.
    pub const ANONYMOUS: &str = "com.apple.container.resource.anonymous";

    /// An image's full name, by Apple's library. The keys are looked up in this order.
    pub const IMAGE_NAME: &str = "com.apple.containerization.image.name";
    /// An image's full name, by containerd.
    pub const CONTAINERD_IMAGE_NAME: &str = "io.containerd.image.name";
    /// An image's name or tag, by the OCI image specification (annotations.md).
    pub const OCI_REF_NAME: &str = "org.opencontainers.image.ref.name";
    /// The full name under which an image was fetched from its registry. None that came in another way has it.
    pub const PULLED_FROM: &str = "com.apple.container.image.pulled-from";
}

/// Why a text is no label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Nothing before the `=`.
    #[error("label '{0}' has no key")]
    NoKey(String),
    /// Over 128 bytes.
    #[error("label key of {0} bytes is too long: at most {MAX_KEY} are allowed")]
    KeyTooLong(usize),
    /// Over 4096 bytes.
    #[error("label of {0} bytes is too long: at most {MAX_LABEL} are allowed")]
    TooLong(usize),
    /// A character or its place.
    #[error(
        "invalid label key '{0}': letters, digits, '.', '-', '_' and '/' are allowed, \
         letters and digits at both ends"
    )]
    Key(String),
}

/// A label: `key=value`, or `key` with an empty value. Keys hold letters, digits, `.`, `-`, `_` and `/` and begin
/// and end with a letter or digit.
///
/// # Errors
/// The first rule that it breaks.
pub fn parse(text: &str) -> Result<(String, String), LabelError> {
    if text.len() > MAX_LABEL {
        return Err(LabelError::TooLong(text.len()));
    }
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.len() > MAX_KEY {
        return Err(LabelError::KeyTooLong(key.len()));
    }
    let bytes = key.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return Err(LabelError::NoKey(text.to_owned()));
    };
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_/".contains(byte);
    if !first.is_ascii_alphanumeric() || !last.is_ascii_alphanumeric() || !bytes.iter().all(inner) {
        return Err(LabelError::Key(key.to_owned()));
    }
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_free_and_keys_are_not() {
        assert_eq!(parse("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(
            parse("com.apple/x"),
            Ok(("com.apple/x".into(), String::new()))
        );
        assert_eq!(parse("k=ä \n"), Ok(("k".into(), "ä \n".into())));
        for text in ["", "=v", ".a=b", "a-=b", "a b=c", "ä=b"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        assert!(parse(&format!("{}=v", "k".repeat(128))).is_ok());
        assert_eq!(
            parse(&format!("{}=v", "k".repeat(129))),
            Err(LabelError::KeyTooLong(129))
        );
        assert_eq!(
            parse(&format!("k={}", "v".repeat(4095))),
            Err(LabelError::TooLong(4097))
        );
    }

    proptest! {
        #[test]
        fn what_passes_is_put_together_again(text in "[a-z0-9./_=-]{0,20}") {
            if let Ok((key, value)) = parse(&text) {
                let again = format!("{key}={value}");
                prop_assert_eq!(again.trim_end_matches('='), text.trim_end_matches('='));
            }
        }
    }
}
