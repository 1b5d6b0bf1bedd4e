//! Names under which a container is found.

pub use container_resource::dns_domain::{HOST, is_host};

/// The most names of one container: its id, its host name with and without a domain, and 64 aliases.
const MAX_NAMES: usize = 67;
/// The longest name, and the longest part of one (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// Why names can't be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamesError {
    /// Not a name.
    #[error("invalid name {0:?} of a container on the network")]
    Invalid(String),
    /// It means the host.
    #[error("{0} is the host's name")]
    Reserved(String),
    /// Not a network.
    #[error("invalid name {0:?} of another network")]
    Network(String),
    /// Too many.
    #[error("a container has at most {MAX_NAMES} names on a network")]
    TooMany,
}

/// Lower case, each once, in their order.
pub fn check(names: &[String]) -> Result<Vec<String>, NamesError> {
    if names.len() > MAX_NAMES {
        return Err(NamesError::TooMany);
    }
    let mut checked = Vec::new();
    for name in names {
        let lower = name.to_ascii_lowercase();
        let lower = lower.strip_suffix('.').unwrap_or(&lower);
        if lower.len() > MAX_NAME || !lower.split('.').all(is_label) {
            return Err(NamesError::Invalid(name.clone()));
        }
        if is_host(lower) {
            return Err(NamesError::Reserved(lower.to_owned()));
        }
        if !checked.iter().any(|known| known == lower) {
            checked.push(lower.to_owned());
        }
    }
    Ok(checked)
}

/// Names of networks, of which sockets have theirs.
pub fn check_networks(names: &[String]) -> Result<Vec<String>, NamesError> {
    if names.len() > MAX_NAMES {
        return Err(NamesError::TooMany);
    }
    match names.iter().find(|name| !is_network(name)) {
        Some(name) => Err(NamesError::Network(name.clone())),
        None => Ok(names.to_vec()),
    }
}

/// Whether a network may have that name.
pub fn is_network(name: &str) -> bool {
    let character = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_LABEL).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(character)
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(names: &[&str]) -> Result<Vec<String>, NamesError> {
        check(&names.iter().map(|&name| name.into()).collect::<Vec<_>>())
    }

    #[test]
    fn names_are_compared_without_case() {
        let found = checked(&["Web_1", "web_1", "db.", "a.b"]).unwrap();
        assert_eq!(found, ["web_1", "db", "a.b"]);
    }

    #[test]
    fn what_is_none() {
        let long = "a".repeat(64);
        for name in ["", ".", "a..b", "a b", "ä", "a\n", long.as_str()] {
            assert!(checked(&[name]).is_err(), "{name:?}");
        }
        for name in ["Host.Container.Internal", "host.docker.internal."] {
            let error = checked(&[name]).unwrap_err();
            assert!(matches!(error, NamesError::Reserved(_)), "{error}");
        }
        assert_eq!(checked(&["a"; MAX_NAMES + 1]), Err(NamesError::TooMany));
    }
}
