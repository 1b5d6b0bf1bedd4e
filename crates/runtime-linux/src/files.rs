//! Files that every container finds in its root.

use bytes::Bytes;
use container_api::guest::File;
use container_resource::container::{ContainerConfiguration, DnsConfiguration};

/// `hostname(7)`, `hosts(5)`, `mtab` and `resolv.conf(5)`; of the last the image's own holds where the container has no names to
/// look up.
pub fn files(configuration: &ContainerConfiguration) -> Vec<File> {
    let hostname = configuration.hostname.as_ref().unwrap_or(&configuration.id);
    let mut files = vec![
        file("/etc/hostname", format!("{hostname}\n")),
        file("/etc/hosts", hosts(hostname)),
        // Programs of old look for their mounts there.
        File {
            link: true,
            keep: true,
            ..file("/etc/mtab", "/proc/mounts".to_owned())
        },
    ];
    files.push(match &configuration.dns {
        Some(dns) => file("/etc/resolv.conf", resolv_conf(dns)),
        // Programs expect one, if only to learn that nobody answers.
        None => File {
            keep: true,
            ..file("/etc/resolv.conf", "# No network.\n".to_owned())
        },
    });
    files
}

/// The name has a line of its own, where it comes first: that is the canonical one, which `hostname -f` tells.
fn hosts(hostname: &str) -> String {
    let short = hostname
        .split_once('.')
        .map_or(String::new(), |(short, _)| format!(" {short}"));
    format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n\
         127.0.0.1\t{hostname}{short}\n"
    )
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
        ..File::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_name_is_the_whole_one() {
        let last = |name: &str| hosts(name).lines().last().unwrap().to_owned();
        assert_eq!(last("c1"), "127.0.0.1\tc1");
        assert_eq!(last("web.example"), "127.0.0.1\tweb.example web");
    }

    #[test]
    fn resolv_conf_has_the_order_of_the_reference() {
        let mut configuration = crate::oci::tests::configuration();
        assert!(files(&configuration)[3].keep);
        configuration.dns = Some(DnsConfiguration {
            nameservers: vec!["192.0.2.1".into()],
            domain: Some("d".into()),
            search_domains: vec!["a".into(), "b".into()],
            options: vec!["ndots:1".into()],
        });
        let files = files(&configuration);
        assert_eq!(
            files[3].data,
            "nameserver 192.0.2.1\ndomain d\nsearch a b\noptions ndots:1\n"
        );
    }
}
