//! Files that every container finds in its root.

mod hosts;
mod resolv_conf;

use bytes::Bytes;
use container_api::guest::File;
use container_resource::bundle::Interface;
use container_resource::container::ContainerConfiguration;

use hosts::hosts;
use resolv_conf::resolv_conf;

/// `hostname(7)`, `hosts(5)`, `mtab` and `resolv.conf(5)`; of the last the image's own holds where the container has nobody to ask
/// for names.
pub fn files(configuration: &ContainerConfiguration, interfaces: &[Interface]) -> Vec<File> {
    let hostname = configuration.hostname.as_ref().unwrap_or(&configuration.id);
    vec![
        file("/etc/hostname", format!("{hostname}\n")),
        file(
            "/etc/hosts",
            hosts(hostname, interfaces, &configuration.hosts),
        ),
        // Programs of old look for their mounts there.
        File {
            link: true,
            keep: true,
            ..file("/etc/mtab", "/proc/mounts".to_owned())
        },
        match resolv_conf(configuration.dns.as_ref(), interfaces) {
            Some(text) => file("/etc/resolv.conf", text),
            // Programs expect one, if only to learn that nobody answers.
            None => File {
                keep: true,
                ..file("/etc/resolv.conf", "# No name server.\n".to_owned())
            },
        },
    ]
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
    fn the_image_s_resolv_conf_stays_where_nobody_can_be_asked() {
        let mut configuration = crate::oci::tests::configuration();
        assert!(files(&configuration, &[])[3].keep);
        configuration.dns = Some(container_resource::container::DnsConfiguration {
            nameservers: vec!["192.0.2.1".into()],
            ..Default::default()
        });
        let files = files(&configuration, &[]);
        assert_eq!(files[3].data, "nameserver 192.0.2.1\n");
        assert!(!files[3].keep);
    }
}
