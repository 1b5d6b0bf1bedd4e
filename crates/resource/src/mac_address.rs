//! Addresses of network interfaces, as `--network name,mac=…` has them.

/// Why a text is no address that an interface can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MacAddressError {
    /// Not six pairs of hexadecimal digits.
    #[error("invalid MAC address '{0}': XX:XX:XX:XX:XX:XX is expected")]
    Form(String),
    /// Meant for a group of interfaces, or for none.
    #[error("invalid MAC address '{0}': it is not one of a single interface")]
    Group(String),
}

/// A MAC address in lower case with colons. Hyphens are taken, too.
///
/// # Errors
/// When it has another form, or is no address of a single interface.
pub fn parse(text: &str) -> Result<String, MacAddressError> {
    let separator = if text.contains('-') { '-' } else { ':' };
    let bytes: Vec<u8> = text
        .split(separator)
        .filter(|pair| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .filter_map(|pair| u8::from_str_radix(pair, 16).ok())
        .collect();
    if bytes.len() != 6 || text.len() != 17 {
        return Err(MacAddressError::Form(text.to_owned()));
    }
    // IEEE 802: the lowest bit of the first byte is set in addresses of groups.
    if bytes[0] & 1 == 1 || bytes.iter().all(|byte| *byte == 0) {
        return Err(MacAddressError::Group(text.to_owned()));
    }
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(pairs.join(":"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_have_one_spelling() {
        for text in ["F2:00:00:00:00:0A", "f2-00-00-00-00-0a"] {
            assert_eq!(parse(text).unwrap(), "f2:00:00:00:00:0a");
        }
        for text in [
            "",
            "f2",
            "f2:0:0:0:0:0",
            "f2:00:00:00:00",
            "f2:00:00:00:00:0g",
            "f2:00:00:00:00:00:00",
            "+2:00:00:00:00:00",
            "f200:00:00:00:00:",
        ] {
            assert!(
                matches!(parse(text), Err(MacAddressError::Form(_))),
                "{text}"
            );
        }
        for text in [
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
        ] {
            assert!(
                matches!(parse(text), Err(MacAddressError::Group(_))),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_passes_passes_again(text in "[0-9a-fA-F:+-]{16,18}") {
            if let Ok(address) = parse(&text) {
                prop_assert_eq!(parse(&address), Ok(address));
            }
        }
    }
}
