//! Lines of a container's `/etc/hosts`: `--add-host <name>:<address>` or `<name>=<address>`.

use std::net::IpAddr;

use crate::container::HostEntry;
use crate::domain_name;

/// Stands for the address under which the host is reached.
pub const HOST_GATEWAY: &str = "host-gateway";

/// Why a text is no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostEntryError {
    /// Not a name and an address.
    #[error("invalid host entry '{0}': <name>:<address> is expected")]
    Form(String),
    /// The name.
    #[error("invalid host name '{0}'")]
    Name(String),
    /// The address.
    #[error("invalid address '{0}' of a host: an IP address or {HOST_GATEWAY} is expected")]
    Address(String),
}

/// A name and its address, which may be an IPv6 address with or without brackets.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(text: &str) -> Result<HostEntry, HostEntryError> {
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .ok_or_else(|| HostEntryError::Form(text.to_owned()))?;
    let hostname = domain_name::parse(name).ok_or_else(|| HostEntryError::Name(name.to_owned()))?;
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    let address = match bare.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) if address == HOST_GATEWAY => address.to_owned(),
        Err(_) => return Err(HostEntryError::Address(address.to_owned())),
    };
    Ok(HostEntry { hostname, address })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_are_checked() {
        for (text, address) in [
            ("db:192.0.2.7", "192.0.2.7"),
            ("db=192.0.2.7", "192.0.2.7"),
            ("db:2001:db8::7", "2001:db8::7"),
            ("db:[2001:DB8::7]", "2001:db8::7"),
            ("db:host-gateway", HOST_GATEWAY),
        ] {
            let entry = parse(text).unwrap();
            assert_eq!(
                (entry.hostname.as_str(), entry.address.as_str()),
                ("db", address)
            );
        }
        for (text, words) in [
            ("db", "invalid host entry"),
            (":1.2.3.4", "invalid host name ''"),
            ("a b:1.2.3.4", "invalid host name"),
            ("db:", "invalid address ''"),
            ("db:nowhere", "invalid address 'nowhere'"),
            ("db:1.2.3.4\nx", "invalid address"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(words), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn an_entry_is_one_line(text in "\\PC{0,20}[:=]\\PC{0,20}") {
            if let Ok(HostEntry { hostname, address }) = parse(&text) {
                prop_assert!(!hostname.contains(char::is_whitespace));
                prop_assert!(!address.contains(char::is_whitespace));
            }
        }
    }
}
