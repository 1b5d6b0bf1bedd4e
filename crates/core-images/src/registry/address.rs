//! Which URLs a registry may have, and which are never followed.

use std::net::IpAddr;

use reqwest::Url;

use super::reach::{Origin, Reach, literal};

/// Where Docker's registry is in fact.
pub fn api_host(domain: &str) -> &str {
    if domain == "docker.io" {
        "registry-1.docker.io"
    } else {
        domain
    }
}

/// Host and port, for messages and for comparing.
pub(super) fn authority(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => String::new(),
    }
}

/// Why an answer from `from` of the registry `origin` may not make us ask `target`; `None` if it may. Where a name leads
/// is looked at when it is resolved.
pub(super) fn refusal(origin: &Origin, from: &Url, target: &Url) -> Option<&'static str> {
    if !matches!(target.scheme(), "http" | "https") {
        return Some("it is no HTTP address");
    }
    if from.scheme() == "https" && target.scheme() != "https" {
        return Some("it is not encrypted");
    }
    if !target.username().is_empty() || target.password().is_some() {
        return Some("it holds credentials");
    }
    let Some(host) = target.host_str() else {
        return Some("it names no host");
    };
    if from.host_str() == Some(host) {
        return None;
    }
    match literal(host) {
        Some(address) => origin.refusal(Reach::of(address)),
        // With a proxy it is not resolved here.
        None if is_loopback(host) => origin.refusal(Reach::Host),
        None => None,
    }
}

/// Whether a host, as it stands in an address, is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost"
        || bare.ends_with(".localhost")
        || bare
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether a token service at `realm` may be shown the credentials of the registry at `registry`: it is the
/// same host, both are spoken to with TLS, or both belong to one domain (`auth.hub.example` and
/// `registry-1.hub.example`). A registry that TLS vouches for could as well ask for the credentials itself, so it may
/// say who else is to see them; one without TLS may be anybody.
pub(super) fn may_see_credentials(registry: &Url, realm: &Url) -> bool {
    let (Some(registry_host), Some(realm_host)) = (registry.host_str(), realm.host_str()) else {
        return false;
    };
    if registry_host == realm_host {
        return true;
    }
    if registry.scheme() == "https" && realm.scheme() == "https" {
        return true;
    }
    let is_name =
        |host: &str| host.contains(|c: char| c.is_ascii_alphabetic()) && !host.contains(':');
    is_name(registry_host)
        && is_name(realm_host)
        && realm.scheme() == "https"
        && organisation(registry_host).is_some()
        && organisation(registry_host) == organisation(realm_host)
}

/// The registered domain, near enough: two labels, or three below a short one (`example.co.uk`).
fn organisation(host: &str) -> Option<Vec<&str>> {
    let labels: Vec<&str> = host.rsplit('.').collect();
    let depth = match labels.as_slice() {
        [top, second, ..] if top.len() == 2 && second.len() <= 3 => 3,
        _ => 2,
    };
    (labels.len() >= depth && !labels.iter().any(|label| label.is_empty()))
        .then(|| labels[..depth].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn redirects_that_are_refused() {
        let outside = url("https://registry.example/v2/");
        let refusal = |from: &Url, target: &Url| refusal(&Origin::new(from), from, target);
        for target in [
            "file:///etc/passwd",
            "http://cdn.example/",
            "https://169.254.169.254/latest",
            "https://127.0.0.1/",
            "https://localhost/",
            "https://[::1]/",
            "https://[fe80::1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://user:pass@cdn.example/",
            "https://0.0.0.0/",
            "https://[fd00:ec2::254]/",
            "https://100.100.100.200/",
            "https://a.localhost/",
            "https://2852039166/",
        ] {
            assert!(refusal(&outside, &url(target)).is_some(), "{target}");
        }
        assert!(refusal(&outside, &url("https://cdn.example/x")).is_none());
        let public = url("https://93.184.216.34/v2/");
        assert!(refusal(&public, &url("https://10.0.0.1/")).is_some());
        let private = url("https://10.0.0.1/v2/");
        assert!(refusal(&private, &url("https://10.0.0.2/")).is_none());
        let inside = url("http://127.0.0.1:5000/v2/");
        assert!(refusal(&inside, &url("http://127.0.0.1:6000/")).is_none());
        assert!(refusal(&inside, &url("http://localhost:6000/")).is_none());
        assert!(refusal(&inside, &url("http://169.254.169.254/")).is_some());
    }

    #[test]
    fn who_may_see_credentials() {
        for (registry, realm, may) in [
            (
                "https://registry-1.hub.example",
                "https://auth.hub.example/token",
                true,
            ),
            (
                "https://registry.forge.example",
                "https://forge.example/jwt/auth",
                true,
            ),
            ("https://r.example.com", "https://tokens.example", true),
            ("https://10.0.0.1", "https://tokens.example", true),
            ("http://r.example.com", "https://evil.example", false),
            ("http://a.co.uk", "https://b.co.uk", false),
            ("http://r.a.co.uk", "https://auth.a.co.uk", true),
            ("https://r.example.com", "http://auth.example.com", false),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token", true),
            (
                "http://127.0.0.1:5000",
                "http://127.0.0.2:5001/token",
                false,
            ),
            ("http://10.0.0.1", "http://11.0.0.1", false),
        ] {
            assert_eq!(
                may_see_credentials(&url(registry), &url(realm)),
                may,
                "{registry} {realm}"
            );
        }
    }
}
