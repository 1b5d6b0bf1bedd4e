//! `/etc/resolv.conf`: whom a container asks for names.

use container_resource::bundle::Interface;
use container_resource::container::DnsConfiguration;

/// The most name servers that programs look at (`MAXNS` of `resolv.h`).
const MAX_SERVERS: usize = 3;

/// The file, where there is anything to say: without `dns` it is not wanted. Where no name server is given, those of the networks
/// answer.
pub fn resolv_conf(dns: Option<&DnsConfiguration>, interfaces: &[Interface]) -> Option<String> {
    let dns = dns?;
    let servers: Vec<&str> = if dns.nameservers.is_empty() {
        let mut servers: Vec<&str> = Vec::new();
        // Each knows the containers of all. One of an internal network knows of nothing else that it is not there, and says so; where another
        // knows the world, nobody asks it.
        let knows_all = interfaces.iter().any(|interface| !interface.is_internal);
        let asked = interfaces
            .iter()
            .filter(|interface| !(knows_all && interface.is_internal));
        for server in asked.flat_map(|interface| &interface.resolvers) {
            if !servers.contains(&server.as_str()) {
                servers.push(server);
            }
        }
        servers.truncate(MAX_SERVERS);
        servers
    } else {
        dns.nameservers.iter().map(String::as_str).collect()
    };
    let list = |key: &str, words: &[String]| {
        (!words.is_empty()).then(|| format!("{key} {}\n", words.join(" ")))
    };
    let text: String = servers
        .iter()
        .map(|server| format!("nameserver {server}\n"))
        .chain(dns.domain.iter().map(|domain| format!("domain {domain}\n")))
        .chain(list("search", &dns.search_domains))
        .chain(list("options", &dns.options))
        .collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_order_of_the_reference() {
        let dns = DnsConfiguration {
            nameservers: vec!["192.0.2.1".into()],
            domain: Some("d".into()),
            search_domains: vec!["a".into(), "b".into()],
            options: vec!["ndots:1".into()],
        };
        assert_eq!(
            resolv_conf(Some(&dns), &[]).as_deref(),
            Some("nameserver 192.0.2.1\ndomain d\nsearch a b\noptions ndots:1\n")
        );
    }

    #[test]
    fn networks_answer_unless_others_are_to() {
        let interface = |resolvers: &[&str]| {
            serde_json::from_value::<Interface>(serde_json::json!({
                "network": "n", "hostname": "c", "deviceMac": "", "mac": "", "mtu": 1500,
                "resolvers": resolvers
            }))
            .unwrap()
        };
        let interfaces = [
            interface(&["10.0.0.1", "fd00::1"]),
            interface(&["10.0.0.1", "10.1.0.1", "fd01::1"]),
        ];
        let dns = DnsConfiguration::default();
        assert_eq!(
            resolv_conf(Some(&dns), &interfaces).as_deref(),
            Some("nameserver 10.0.0.1\nnameserver fd00::1\nnameserver 10.1.0.1\n")
        );
        // An internal one is asked where there is no other.
        let mut inner = interface(&["10.2.0.1"]);
        inner.is_internal = true;
        let both = [inner.clone(), interfaces[0].clone()];
        assert_eq!(
            resolv_conf(Some(&dns), &both).as_deref(),
            Some("nameserver 10.0.0.1\nnameserver fd00::1\n")
        );
        assert_eq!(
            resolv_conf(Some(&dns), &[inner]).as_deref(),
            Some("nameserver 10.2.0.1\n")
        );
        assert_eq!(resolv_conf(None, &interfaces), None);
        assert_eq!(resolv_conf(Some(&dns), &[]), None);
    }
}
