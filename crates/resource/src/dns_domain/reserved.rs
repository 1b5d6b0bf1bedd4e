//! Domains that are somebody else's: nobody but the system would be asked for names below them.

use super::DnsDomain;

/// Domains of the internet's root, in lower case and in order: those of three letters and more in IANA's list, as version 1.261.0 of
/// the npm package `tlds` (MIT) has it. Those of two are countries', or may become so.
const TOP_LEVEL: &str = include_str!("top_level.txt");
/// Where containers find their host, and what else it may be called: see `host.container.internal`.
const OWN: &str = "container.internal";

/// Whose a domain is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reserved {
    /// RFC 6761, section 6.3.
    #[error("{0} is the name of each computer for itself")]
    Loopback(String),
    /// RFC 6762.
    #[error("names below local are those of multicast DNS")]
    Multicast,
    /// RFC 6761, section 6.4.
    #[error("names below invalid are none")]
    Invalid,
    /// RFC 7686.
    #[error("names below onion are those of Tor")]
    Onion,
    /// RFC 3172.
    #[error("names below {0} are those of addresses, and of the internet itself")]
    Infrastructure(String),
    /// They lead to the host.
    #[error("names below {OWN} are those by which containers reach their host")]
    Own,
    /// Everything below it.
    #[error("{0} is a top-level domain of the internet: all its names would be lost to this host")]
    TopLevel(String),
}

/// Whether `domain` is anybody's to take, such as `test`, `internal`, or one below a domain of one's own.
///
/// # Errors
/// Whose it is.
pub fn check(domain: &DnsDomain) -> Result<(), Reserved> {
    let name = domain.domain.as_str();
    let is_below = |other: &str| {
        let before = name.strip_suffix(other);
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    if is_below("localhost") {
        return Err(Reserved::Loopback(name.to_owned()));
    }
    if is_below("local") {
        return Err(Reserved::Multicast);
    }
    if is_below("invalid") {
        return Err(Reserved::Invalid);
    }
    if is_below("onion") {
        return Err(Reserved::Onion);
    }
    // A network at home has names below home.arpa (RFC 8375); all of them are not one's to take.
    if is_below("arpa") && !(is_below("home.arpa") && name != "home.arpa") {
        return Err(Reserved::Infrastructure(name.to_owned()));
    }
    // A name for the host's loopback is what Apple's tool has such names for.
    if is_below(OWN) && domain.localhost.is_none() {
        return Err(Reserved::Own);
    }
    let is_country = name.len() <= 2;
    let is_another_script = name.starts_with("xn--");
    let is_known = || TOP_LEVEL.split_whitespace().any(|known| known == name);
    if !name.contains('.') && (is_country || is_another_script || is_known()) {
        return Err(Reserved::TopLevel(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(domain: &str, localhost: bool) -> Result<(), Reserved> {
        check(&DnsDomain {
            domain: domain.into(),
            localhost: localhost.then_some([203, 0, 113, 113].into()),
        })
    }

    #[test]
    fn what_is_somebody_else_s_is_not_taken() {
        for domain in [
            "localhost",
            "a.localhost",
            "local",
            "printer.local",
            "invalid",
            "onion",
            "arpa",
            "in-addr.arpa",
            "10.in-addr.arpa",
            "ip6.arpa",
            "home.arpa",
            "container.internal",
            "host.container.internal",
            "org",
            "com",
            "dev",
            "de",
            "io",
            "zz",
            "xn--p1ai",
        ] {
            assert!(of(domain, false).is_err(), "{domain}");
        }
        for domain in [
            "test",
            "internal",
            "lan",
            "home",
            "corp",
            "example",
            "containers",
            "web.home.arpa",
            "example.org",
            "mylocal",
            "x.container.internals",
        ] {
            assert_eq!(of(domain, false), Ok(()), "{domain}");
        }
        assert_eq!(of("host.container.internal", true), Ok(()));
        assert!(of("localhost", true).is_err() && of("org", true).is_err());
    }

    #[test]
    fn the_list_is_in_order_and_has_no_other_words() {
        let words: Vec<_> = TOP_LEVEL.split_whitespace().collect();
        assert!(words.len() > 1000 && words.is_sorted());
        let is_label = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
        assert!(words.iter().all(is_label));
        assert!(!words.contains(&"test") && !words.contains(&"internal"));
    }
}
