//! Files that every container finds in its root.

use bytes::Bytes;
use container_api::guest::File;
use container_resource::container::{ContainerConfiguration, DnsConfiguration};

/// `hostname(7)`, `hosts(5)` and, unless the container wants none, `resolv.conf(5)`.
pub fn files(configuration: &ContainerConfiguration) -> Vec<File> {
    let hostname = configuration.hostname.as_ref().unwrap_or(&configuration.id);
    let mut files = vec![
        file("/etc/hostname", format!("{hostname}\n")),
        file(
            "/etc/hosts",
            format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost\n"),
        ),
    ];
    if let Some(dns) = &configuration.dns {
        files.push(file("/etc/resolv.conf", resolv_conf(dns)));
    }
    files
}

fn resolv_conf(dns: &DnsConfiguration) -> String {
    let servers = dns
        .nameservers
        .iter()
        .map(|server| format!("nameserver {server}\n"));
    let domain = dns.domain.iter().map(|domain| format!("domain {domain}\n"));
    let list = |key: &str, words: &[String]| {
        (!words.is_empty()).then(|| format!("{key} {}\n", words.join(" ")))
    };
    let search = list("search", &dns.search_domains);
    let options = list("options", &dns.options);
    servers.chain(domain).chain(search).chain(options).collect()
}

fn file(path: &str, text: String) -> File {
    File {
        path: path.to_owned(),
        data: Bytes::from(text),
        mode: 0o644,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_has_the_order_of_the_reference() {
        let mut configuration = crate::oci::tests::configuration();
        assert_eq!(files(&configuration).len(), 2);
        configuration.dns = Some(DnsConfiguration {
            nameservers: vec!["192.0.2.1".into()],
            domain: Some("d".into()),
            search_domains: vec!["a".into(), "b".into()],
            options: vec!["ndots:1".into()],
        });
        let files = files(&configuration);
        assert_eq!(
            files[2].data,
            "nameserver 192.0.2.1\ndomain d\nsearch a b\noptions ndots:1\n"
        );
    }
}
