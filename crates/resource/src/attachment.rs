//! Networks of a container: `--network <name>[,ip=<address>][,ip6=<address>][,mac=<address>][,mtu=<bytes>][,alias=<name>]
//! [,egress=none|allow=<rule>]`, as Apple's tool, docker and podman write it.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::container::{AttachmentConfiguration, AttachmentOptions};
use crate::domain_name;
use crate::egress_policy::{self, EgressPolicyError};
use crate::mac_address::{self, MacAddressError};
use crate::network::NONE;
use crate::network_name::{self, NetworkNameError};

/// Bytes of a packet (as Apple's container has it): IPv6 needs 1280, and a packet has no more than 65535.
const MTU: std::ops::RangeInclusive<u32> = 1280..=65535;
/// The word for a container whose ports are opened on the host.
const HOST: &str = "host";
/// The most aliases of a container on one network.
const MAX_ALIASES: usize = 64;

/// What `--network` may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// No network at all.
    None,
    /// The default network, and the container's ports are the host's.
    Host,
    /// This one.
    Network(Box<AttachmentConfiguration>),
}

/// Why a text says nothing of a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachmentError {
    /// Its name.
    #[error(transparent)]
    Name(#[from] NetworkNameError),
    /// Names of docker's that mean a part of the host, or of another container.
    #[error(
        "network '{0}' is not available yet: a container has a machine, and so a network stack, of its own"
    )]
    Shared(String),
    /// `none` and `host` have no options of a network.
    #[error("network 'none' has no options")]
    NoneOptions,
    /// `host` is no network of its own.
    #[error(
        "network 'host' has no options: the container is on the network default, with its options"
    )]
    HostOptions,
    /// A key that networks do not have.
    #[error("unexpected key '{key}' in '{field}': ip, ip6, mac, mtu, alias and egress are known")]
    Key {
        /// The text before the `=`.
        key: String,
        /// The whole field.
        field: String,
    },
    /// A key of which a network has one.
    #[error("{0}= is given twice for network {1}")]
    Again(&'static str, String),
    /// A value that its key cannot have.
    #[error("invalid value for {key}: '{value}': {expected} is expected")]
    Value {
        /// The key as it was given.
        key: &'static str,
        /// The text behind the `=`.
        value: String,
        /// The expected value.
        expected: &'static str,
    },
    /// The MAC address.
    #[error(transparent)]
    MacAddress(#[from] MacAddressError),
    /// A rule of `egress=`.
    #[error(transparent)]
    Egress(#[from] EgressPolicyError),
    /// More aliases than [`MAX_ALIASES`].
    #[error("at most {MAX_ALIASES} aliases of a container on one network are allowed")]
    Aliases,
}

/// A network that was asked for by nothing but its name.
pub fn plain(network: &str) -> AttachmentConfiguration {
    AttachmentConfiguration {
        network: network.to_owned(),
        options: AttachmentOptions::default(),
    }
}

/// A network with options.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(text: &str) -> Result<Choice, AttachmentError> {
    // Podman has a colon behind the name.
    let (name, fields) = match text.find([',', ':']) {
        Some(end) => (&text[..end], Some(&text[end + 1..])),
        None => (text, None),
    };
    let name = name.strip_prefix("name=").unwrap_or(name);
    match name {
        NONE if fields.is_none() => return Ok(Choice::None),
        NONE => return Err(AttachmentError::NoneOptions),
        HOST if fields.is_none() => return Ok(Choice::Host),
        HOST => return Err(AttachmentError::HostOptions),
        "container" | "ns" => return Err(AttachmentError::Shared(name.to_owned())),
        _ => network_name::validate(name)?,
    }
    let mut attachment = plain(name);
    let mut previous = "";
    for field in fields.into_iter().flat_map(|fields| fields.split(',')) {
        previous = apply(&mut attachment, field, previous)?;
    }
    Ok(Choice::Network(Box::new(attachment)))
}

/// Sets what `field` says; gives its key. After rules of egress a field without a key is a further one.
fn apply(
    attachment: &mut AttachmentConfiguration,
    field: &str,
    previous: &'static str,
) -> Result<&'static str, AttachmentError> {
    let AttachmentConfiguration { network, options } = attachment;
    let once = |key, is_set: bool| {
        if is_set {
            return Err(AttachmentError::Again(key, network.clone()));
        }
        Ok(())
    };
    let unexpected = |key: &str| AttachmentError::Key {
        key: key.to_owned(),
        field: field.to_owned(),
    };
    let Some((key, value)) = field.split_once('=') else {
        if previous == "egress"
            && options
                .egress
                .as_ref()
                .is_some_and(|rules| !rules.is_empty())
        {
            allow(options, &format!("allow={field}"))?;
            return Ok("egress");
        }
        return Err(unexpected(field));
    };
    match key.to_ascii_lowercase().as_str() {
        "ip" | "ipv4" => {
            once("ip", options.ipv4_address.is_some())?;
            options.ipv4_address = Some(ipv4(value)?);
        }
        "ip6" | "ipv6" => {
            once("ip6", options.ipv6_address.is_some())?;
            options.ipv6_address = Some(ipv6(value)?);
        }
        "mac" | "mac-address" | "mac_address" => {
            once("mac", options.mac_address.is_some())?;
            options.mac_address = Some(mac_address::parse(value)?);
        }
        "mtu" => {
            once("mtu", options.mtu.is_some())?;
            options.mtu = Some(mtu(value)?);
        }
        "alias" => {
            add_aliases(options, [alias(value)?])?;
        }
        "egress" => {
            allow(options, value)?;
            return Ok("egress");
        }
        _ => return Err(unexpected(key)),
    }
    Ok("")
}

/// Gives a container further names on a network, each of them once.
///
/// # Errors
/// [`AttachmentError::Aliases`] when it has too many, whichever way they were given.
pub fn add_aliases(
    options: &mut AttachmentOptions,
    aliases: impl IntoIterator<Item = String>,
) -> Result<(), AttachmentError> {
    for name in aliases {
        if !options.aliases.contains(&name) {
            options.aliases.push(name);
        }
        if options.aliases.len() > MAX_ALIASES {
            return Err(AttachmentError::Aliases);
        }
    }
    Ok(())
}

fn allow(options: &mut AttachmentOptions, value: &str) -> Result<(), AttachmentError> {
    let rules = egress_policy::parse(value)?;
    let before = options.egress.as_ref();
    if before.is_some_and(|before| before.is_empty() != rules.is_empty()) {
        return Err(EgressPolicyError::None.into());
    }
    let allowed = options.egress.get_or_insert_default();
    allowed.extend(rules);
    egress_policy::check(allowed)?;
    Ok(())
}

/// An IPv4 address that a container can have.
///
/// # Errors
/// When it is invalid.
pub fn ipv4(value: &str) -> Result<Ipv4Addr, AttachmentError> {
    let address: Option<Ipv4Addr> = value.parse().ok();
    let usable = |address: &Ipv4Addr| {
        !(address.is_unspecified()
            || address.is_loopback()
            || address.is_multicast()
            || address.is_broadcast())
    };
    address
        .filter(usable)
        .ok_or_else(|| AttachmentError::Value {
            key: "ip",
            value: value.to_owned(),
            expected: "an IPv4 address of the network",
        })
}

/// An IPv6 address that a container can have.
///
/// # Errors
/// When it is invalid.
pub fn ipv6(value: &str) -> Result<Ipv6Addr, AttachmentError> {
    let address: Option<Ipv6Addr> = value.parse().ok();
    let usable = |address: &Ipv6Addr| {
        !(address.is_unspecified()
            || address.is_loopback()
            || address.is_multicast()
            || address.is_unicast_link_local()
            || address.to_ipv4_mapped().is_some())
    };
    address
        .filter(usable)
        .ok_or_else(|| AttachmentError::Value {
            key: "ip6",
            value: value.to_owned(),
            expected: "an IPv6 address of the network",
        })
}

fn mtu(value: &str) -> Result<u32, AttachmentError> {
    let bytes = value.parse().ok().filter(|bytes| MTU.contains(bytes));
    bytes.ok_or_else(|| AttachmentError::Value {
        key: "mtu",
        value: value.to_owned(),
        expected: "a number from 1280 to 65535",
    })
}

/// A further name of a container on a network: one name of the domain name system, in lower case.
///
/// # Errors
/// When it is invalid.
pub fn alias(value: &str) -> Result<String, AttachmentError> {
    domain_name::parse(value).ok_or_else(|| AttachmentError::Value {
        key: "alias",
        value: value.to_owned(),
        expected: "a host name",
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn options(text: &str) -> AttachmentOptions {
        match parse(text).unwrap() {
            Choice::Network(attachment) => attachment.options,
            Choice::None | Choice::Host => panic!("{text}"),
        }
    }

    #[test]
    fn all_three_tools_spellings_mean_the_same() {
        let expected = AttachmentOptions {
            ipv4_address: Some([10, 1, 2, 3].into()),
            mac_address: Some("f2:00:00:00:00:01".into()),
            aliases: vec!["db".into(), "db2.x".into()],
            ..AttachmentOptions::default()
        };
        for text in [
            "backend,ip=10.1.2.3,mac=F2:00:00:00:00:01,alias=db,alias=DB2.x",
            "name=backend,ip=10.1.2.3,mac-address=f2:00:00:00:00:01,alias=db,alias=db2.x,alias=db",
            "backend:ip=10.1.2.3,mac=f2-00-00-00-00-01,alias=db,alias=db2.x.",
        ] {
            assert_eq!(options(text), expected, "{text}");
        }
        assert_eq!(parse("none"), Ok(Choice::None));
        assert_eq!(parse("host"), Ok(Choice::Host));
        assert_eq!(options("a,mtu=1500").mtu, Some(1500));
        assert_eq!(
            options("a,ip6=fd00::2").ipv6_address,
            "fd00::2".parse().ok()
        );
    }

    #[test]
    fn rules_of_egress_may_follow_each_other() {
        let rules = |text: &str| {
            let rules = options(text).egress.unwrap();
            rules.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(rules("a,egress=none"), Vec::<String>::new());
        assert_eq!(
            rules("a,egress=allow=x.example:443,10.0.0.0/8,mtu=1400"),
            ["x.example:443", "10.0.0.0/8"]
        );
        assert_eq!(
            rules("a,egress=allow=x.example,egress=allow=y.example"),
            ["x.example", "y.example"]
        );
        assert!(parse("a,egress=none,10.0.0.0/8").is_err());
        assert!(parse("a,egress=allow=x.example,mtu=1400,10.0.0.0/8").is_err());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            ("", "invalid network name ''"),
            (",", "invalid network name ''"),
            ("=", "invalid network name '='"),
            ("A", "invalid network name 'A'"),
            ("host,mtu=1400", "network 'host' has no options"),
            ("container:web", "network 'container' is not available yet"),
            ("none,mtu=1400", "network 'none' has no options"),
            ("a,", "unexpected key '' in ''"),
            ("a,foo=b", "unexpected key 'foo' in 'foo=b'"),
            ("a,ip", "unexpected key 'ip' in 'ip'"),
            ("a,ip=", "invalid value for ip: ''"),
            ("a,ip=::1", "invalid value for ip: '::1'"),
            ("a,ip=224.0.0.1", "invalid value for ip: '224.0.0.1'"),
            ("a,ip6=fe80::1", "invalid value for ip6: 'fe80::1'"),
            ("a,mtu=1279", "invalid value for mtu: '1279'"),
            ("a,mtu=65536", "invalid value for mtu: '65536'"),
            (
                "a,ip=10.0.0.2,ipv4=10.0.0.3",
                "ip= is given twice for network a",
            ),
            (
                "a,ip6=fd00::2,ip6=fd00::3",
                "ip6= is given twice for network a",
            ),
            ("a,mtu=1400,mtu=1500", "mtu= is given twice for network a"),
            (
                "a,mac=f2:00:00:00:00:01,mac-address=f2:00:00:00:00:02",
                "mac= is given twice for network a",
            ),
            ("a,mac=zz", "invalid MAC address 'zz'"),
            ("a,alias=a b", "invalid value for alias: 'a b'"),
            ("a,egress=all", "invalid egress 'all'"),
            (
                "a,egress=allow=192.0.2.1,none",
                "'none' in an egress policy stands alone",
            ),
            (
                "a,egress=none,egress=allow=192.0.2.1",
                "'none' in an egress policy stands alone",
            ),
            (
                "a,egress=allow=192.0.2.1,egress=none",
                "'none' in an egress policy stands alone",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(words), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_passes_is_bounded(text in "(a|name=b|none)[,:]?\\PC{0,40}") {
            if let Ok(Choice::Network(attachment)) = parse(&text) {
                prop_assert!(network_name::validate(&attachment.network).is_ok());
                prop_assert!(attachment.options.mtu.is_none_or(|mtu| MTU.contains(&mtu)));
            }
        }
    }
}
