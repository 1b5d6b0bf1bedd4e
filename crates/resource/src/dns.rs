//! Contents of a container's `resolv.conf`: `--dns`, `--dns-search`, `--dns-option`, `--dns-domain`.

use std::net::IpAddr;

use crate::domain_name;

/// Why a value cannot go there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// Not an address.
    #[error("invalid name server '{0}': an IP address is expected")]
    Server(String),
    /// Not a name.
    #[error("invalid domain '{0}'")]
    Domain(String),
    /// Not one word.
    #[error("invalid option '{0}': one word as in resolv.conf(5) is expected, such as ndots:1")]
    Option(String),
}

/// The address of a name server.
///
/// # Errors
/// When it is invalid.
pub fn server(text: &str) -> Result<String, DnsError> {
    // An IPv6 address may name the interface behind it.
    let (address, zone) = text.split_once('%').unwrap_or((text, ""));
    let plain = zone.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) if zone.is_empty() && !text.contains('%') => Ok(text.to_owned()),
        Ok(IpAddr::V6(_)) if plain && (zone.is_empty() != text.contains('%')) => {
            Ok(text.to_owned())
        }
        _ => Err(DnsError::Server(text.to_owned())),
    }
}

/// A domain that short names are tried in. Docker's `.` stands for none.
///
/// # Errors
/// When it is invalid.
pub fn search(text: &str) -> Result<String, DnsError> {
    if text == "." {
        return Ok(String::new());
    }
    domain(text)
}

/// The domain that the container is in.
///
/// # Errors
/// When it is invalid.
pub fn domain(text: &str) -> Result<String, DnsError> {
    domain_name::parse(text).ok_or_else(|| DnsError::Domain(text.to_owned()))
}

/// An option of `resolv.conf(5)`.
///
/// # Errors
/// When it is not one word.
pub fn option(text: &str) -> Result<String, DnsError> {
    let word = !text.is_empty()
        && text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_:.".contains(&byte));
    if word {
        Ok(text.to_owned())
    } else {
        Err(DnsError::Option(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_checked() {
        for text in ["192.0.2.1", "2001:db8::1", "fe80::1%eth0"] {
            assert!(server(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "a",
            "192.0.2.1:53",
            "1.2.3.4%eth0",
            "::1%",
            "::1%e 0",
            "1.2.3.4\n",
        ] {
            assert!(server(text).is_err(), "{text}");
        }
        assert_eq!(search("Example.ORG."), Ok("example.org".to_owned()));
        assert_eq!(search("."), Ok(String::new()));
        assert!(search("a b").is_err() && search("").is_err());
        assert!(option("ndots:1").is_ok() && option("a b").is_err() && option("").is_err());
    }

    proptest! {
        #[test]
        fn nothing_begins_a_line_of_its_own(text in "\\PC{0,20}\n?\\PC{0,5}") {
            for value in [server(&text), search(&text), option(&text)].into_iter().flatten() {
                prop_assert!(!value.contains(char::is_whitespace));
            }
        }
    }
}
