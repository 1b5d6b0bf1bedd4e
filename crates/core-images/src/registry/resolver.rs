//! From names to addresses that may be asked. The address that is looked at is the one that is connected to, so a name
//! that means another one a moment later gains nothing.
//!
//! What goes through a proxy is resolved by the proxy, whose own name may lead anywhere: the user has set it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::reach::{Origin, Reach};

/// Variables that name proxies, in either case.
const PROXIES: [&str; 3] = ["http_proxy", "https_proxy", "all_proxy"];

/// What tells the addresses of a name.
pub trait Lookup: std::fmt::Debug + Send + Sync {
    /// The addresses of `host`, with any port.
    fn lookup(&self, host: &str) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Lookup for System {
    fn lookup(&self, host: &str) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((host.as_str(), 0)).await?.collect()) })
    }
}

/// A name whose addresses may not be asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host} means {address}, which is refused: {reason}")]
pub struct RefusedName {
    host: String,
    address: IpAddr,
    reason: &'static str,
}

/// A name that has no addresses, or whose resolver did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the name cannot be resolved")]
pub struct Unresolved(#[source] pub std::io::Error);

/// Resolves names for one registry.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) origin: Arc<Origin>,
    pub(super) lookup: Arc<dyn Lookup>,
    /// Hosts of the proxies.
    pub(super) proxies: Vec<String>,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let found = self.lookup.lookup(&host);
        let is_proxy = self.proxies.contains(&host);
        let origin = Arc::clone(&self.origin);
        Box::pin(async move {
            let found = found.await.map_err(Unresolved)?;
            let allowed = if is_proxy {
                found
            } else {
                allowed(&origin, &host, found)?
            };
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

/// Those of the addresses of `host` that may be asked.
fn allowed(
    origin: &Origin,
    host: &str,
    found: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, RefusedName> {
    let of = |address: &SocketAddr| Reach::of(address.ip());
    if origin.is(host) {
        // Public by one address is public: it is not trusted for the sake of another one.
        let reaches: Vec<Reach> = found.iter().map(of).collect();
        let nearest = [Reach::Public, Reach::Private, Reach::Host];
        if let Some(reach) = nearest.into_iter().find(|reach| reaches.contains(reach)) {
            origin.found(reach);
        }
    }
    let refusal = |address: &SocketAddr| origin.refusal(of(address));
    let first = found
        .iter()
        .find_map(|address| Some((address.ip(), refusal(address)?)));
    let kept: Vec<SocketAddr> = found
        .into_iter()
        .filter(|address| refusal(address).is_none())
        .collect();
    match first {
        Some((address, reason)) if kept.is_empty() => Err(RefusedName {
            host: host.to_owned(),
            address,
            reason,
        }),
        _ => Ok(kept),
    }
}

/// Hosts of the proxies that the environment names.
pub(super) fn proxies() -> Vec<String> {
    let names = PROXIES
        .into_iter()
        .flat_map(|name| [name.to_owned(), name.to_uppercase()]);
    names
        .filter_map(|name| std::env::var(name).ok())
        .filter_map(|text| proxy_host(&text))
        .collect()
}

/// A proxy may be written without its scheme.
fn proxy_host(text: &str) -> Option<String> {
    let url = if text.contains("://") {
        text.parse::<Url>()
    } else {
        format!("http://{text}").parse()
    };
    Some(url.ok()?.host_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        let address = |text: &&str| SocketAddr::new(text.parse().unwrap(), 0);
        texts.iter().map(address).collect()
    }

    fn origin(host: &str) -> Origin {
        Origin::new(&format!("https://{host}/v2/").parse().unwrap())
    }

    fn resolve(origin: &Origin, host: &str, found: &[&str]) -> Result<usize, RefusedName> {
        allowed(origin, host, addresses(found)).map(|kept| kept.len())
    }

    #[test]
    fn a_public_registry_leads_to_public_addresses_only() {
        let registry = origin("registry.example");
        assert_eq!(
            resolve(&registry, "registry.example", &["93.184.216.34"]),
            Ok(1)
        );
        assert_eq!(
            resolve(&registry, "cdn.example", &["93.184.216.35", "2001:db8::1"]),
            Ok(2)
        );
        for address in [
            "10.0.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "fd00:ec2::254",
            "::1",
            "fe80::1",
        ] {
            let error = resolve(&registry, "evil.example", &[address]).unwrap_err();
            assert!(error.to_string().contains(address), "{error}");
        }
        // One good address does not carry the others.
        assert_eq!(
            resolve(&registry, "mixed.example", &["93.184.216.34", "10.0.0.1"]),
            Ok(1)
        );
    }

    #[test]
    fn a_private_registry_may_lead_to_its_network() {
        let registry = origin("registry.corp.example");
        assert_eq!(
            resolve(&registry, "registry.corp.example", &["10.0.0.1"]),
            Ok(1)
        );
        assert_eq!(
            resolve(&registry, "storage.corp.example", &["10.0.0.2"]),
            Ok(1)
        );
        assert!(resolve(&registry, "evil.example", &["127.0.0.1"]).is_err());
        assert!(resolve(&registry, "evil.example", &["169.254.169.254"]).is_err());
    }

    #[test]
    fn a_registry_on_this_machine_may_lead_to_it() {
        for registry in [origin("127.0.0.1"), origin("localhost")] {
            resolve(&registry, "localhost", &["127.0.0.1", "::1"]).unwrap();
            assert_eq!(resolve(&registry, "here.example", &["127.0.0.1"]), Ok(1));
            assert!(resolve(&registry, "evil.example", &["169.254.1.1"]).is_err());
        }
    }

    #[test]
    fn the_registry_s_own_name_means_no_link_and_may_not_change_sides() {
        let registry = origin("registry.example");
        assert!(resolve(&registry, "registry.example", &["169.254.169.254"]).is_err());
        assert_eq!(
            resolve(
                &registry,
                "registry.example",
                &["93.184.216.34", "10.0.0.1"]
            ),
            Ok(1)
        );
        assert!(resolve(&registry, "evil.example", &["10.0.0.1"]).is_err());
    }

    #[test]
    fn proxies_are_found_in_any_form() {
        for (text, host) in [
            (
                "http://proxy.corp.example:3128/",
                Some("proxy.corp.example"),
            ),
            ("proxy.corp.example:3128", Some("proxy.corp.example")),
            ("socks5://user:pass@10.0.0.1", Some("10.0.0.1")),
            ("", None),
        ] {
            assert_eq!(proxy_host(text).as_deref(), host, "{text}");
        }
    }
}
