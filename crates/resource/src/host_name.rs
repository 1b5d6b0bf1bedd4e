//! Names of hosts (`hostname(7)`).

/// The longest that Linux takes, in bytes (`HOST_NAME_MAX` of linux/limits.h).
const MAX: usize = 64;

/// Whether `text` is one: labels of letters, digits and hyphens, joined by dots.
pub fn is_valid(text: &str) -> bool {
    text.len() <= MAX && text.split('.').all(is_label)
}

/// Whether `label` may stand between the dots of one.
pub(crate) fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}
