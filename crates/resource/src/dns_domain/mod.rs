//! Domains under which the host finds names: `system dns`.

pub mod reserved;

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// The name by which containers reach their host; no container has it.
pub const HOST: &str = "host.container.internal";
/// The same in docker and podman: what was written for them finds the host, too.
const OTHER_HOSTS: [&str; 3] = [
    "host.docker.internal",
    "gateway.docker.internal",
    "host.containers.internal",
];
/// The most domains of a system.
pub const MAX_DOMAINS: usize = 32;

/// Whether `name`, in lower case, is the host's.
pub fn is_host(name: &str) -> bool {
    name == HOST || OTHER_HOSTS.contains(&name)
}

/// A domain whose names are not the internet's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsDomain {
    /// As [`crate::domain_name::parse`] gives it. Below it each container has its names.
    pub domain: String,
    /// The domain is the name of the host's loopback instead, and nothing is below it. The address is what Apple's tool would take for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub localhost: Option<Ipv4Addr>,
}

impl DnsDomain {
    /// What is before the domain in `name`, which is in lower case; nothing where the name is not below it.
    pub fn strip<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_suffix(&self.domain)?.strip_suffix('.')
    }

    /// Whether `name` is that of the host's loopback.
    pub fn is_loopback(&self, name: &str) -> bool {
        self.localhost.is_some() && self.domain == name
    }

    /// Whether `name` is the domain, or below it.
    pub fn covers(&self, name: &str) -> bool {
        name == self.domain || self.strip(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_below_a_domain() {
        let test = DnsDomain {
            domain: "test".into(),
            localhost: None,
        };
        assert_eq!(test.strip("web.test"), Some("web"));
        assert_eq!(test.strip("a.b.test"), Some("a.b"));
        for other in ["test", "attest", "web.test.org", ""] {
            assert_eq!(test.strip(other), None, "{other}");
        }
        assert!(test.covers("test") && test.covers("web.test") && !test.covers("attest"));
    }
}
