//! A new container's networks, ports and names: what the flags of `run` and `create` say of them together.

use crate::attachment::{self, Choice};
use crate::container::{AttachmentConfiguration, DnsConfiguration, HostEntry, PublishPort};
use crate::host_entry::HOST_GATEWAY;
use crate::network::DEFAULT;
use crate::publish::{self, PublishError, TogetherError};
use crate::vain_egress::unlearned;

/// The request; each part is valid by itself.
#[derive(Clone, Debug, Default)]
pub struct Connectivity {
    /// Networks in order; nothing: the default one, without its being asked for.
    pub choices: Vec<Choice>,
    /// Ports of the host.
    pub ports: Vec<PublishPort>,
    /// Each port that the image or [`Self::exposed`] names is published at a free one.
    pub publish_all: bool,
    /// Ports that programs listen at, beside those that the image names.
    pub exposed: Vec<PublishPort>,
    /// What goes into `resolv.conf`; absent: none is written.
    pub dns: Option<DnsConfiguration>,
    /// Lines of `/etc/hosts`.
    pub hosts: Vec<HostEntry>,
}

/// Why the parts do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectivityError {
    /// No network and a network.
    #[error("network none cannot be combined with other networks")]
    NoneAndOthers,
    /// The host's ports, and a network.
    #[error("network host cannot be combined with other networks")]
    HostAndOthers,
    /// Ports that are published by themselves.
    #[error(
        "ports are not published with network host: the ports at which the container listens are opened on the host in any case"
    )]
    HostPorts,
    /// One network twice.
    #[error("network '{0}' is given twice")]
    Twice(String),
    /// Ports without a network.
    #[error("ports cannot be published without a network")]
    NoNetwork,
    /// The host's address on a network, and none.
    #[error(
        "{HOST_GATEWAY} is the host's address on a network, which a container without a network does not have: '{0}'"
    )]
    NoHost(String),
    /// A rule for a name, and name servers that are not the network's.
    #[error(
        "egress rule '{0}' can never match beside --dns: what a name stands for is known from the answers of the network's own resolver; \
         leave --dns out, or allow addresses"
    )]
    Unlearned(String),
    /// The ports.
    #[error(transparent)]
    Ports(#[from] TogetherError),
    /// A port of the image.
    #[error("a port that the image exposes")]
    Exposed(#[source] PublishError),
}

impl Connectivity {
    /// Whether the parts go together.
    ///
    /// # Errors
    /// See [`ConnectivityError`].
    pub fn check(&self) -> Result<(), ConnectivityError> {
        let none = self.choices.contains(&Choice::None);
        if none && self.choices.iter().any(|choice| *choice != Choice::None) {
            return Err(ConnectivityError::NoneAndOthers);
        }
        if none && (!self.ports.is_empty() || self.publish_all) {
            return Err(ConnectivityError::NoNetwork);
        }
        let mut hosts = self.hosts.iter();
        if let Some(host) = hosts.find(|host| none && host.address == HOST_GATEWAY) {
            return Err(ConnectivityError::NoHost(host.hostname.clone()));
        }
        if self.is_host() && self.choices.len() > 1 {
            return Err(ConnectivityError::HostAndOthers);
        }
        if self.is_host() && (!self.ports.is_empty() || self.publish_all) {
            return Err(ConnectivityError::HostPorts);
        }
        let names: Vec<&str> = self
            .chosen()
            .map(|chosen| chosen.network.as_str())
            .collect();
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                return Err(ConnectivityError::Twice((*name).to_owned()));
            }
        }
        if let Some(dns) = &self.dns {
            let mut rules = self.chosen().filter_map(|one| one.options.egress.as_ref());
            if let Some(rule) = rules.find_map(|rules| unlearned(dns, rules)) {
                return Err(ConnectivityError::Unlearned(rule.to_string()));
            }
        }
        publish::check(&self.ports)?;
        Ok(())
    }

    fn chosen(&self) -> impl Iterator<Item = &AttachmentConfiguration> {
        self.choices.iter().filter_map(|choice| match choice {
            Choice::None | Choice::Host => None,
            Choice::Network(attachment) => Some(&**attachment),
        })
    }

    /// Whether the container's ports are to be the host's.
    pub fn is_host(&self) -> bool {
        self.choices.contains(&Choice::Host)
    }

    /// The networks of the container `id`.
    pub fn networks(&self, id: &str) -> Vec<AttachmentConfiguration> {
        let mut networks: Vec<_> = self.chosen().cloned().collect();
        if self.choices.is_empty() || self.is_host() {
            let mut default = attachment::plain(DEFAULT);
            // Publishing a port asks for a network.
            default.options.implied = self.ports.is_empty() && !self.publish_all;
            networks.push(default);
        }
        for network in &mut networks {
            id.clone_into(&mut network.options.hostname);
        }
        networks
    }

    /// The ports that are published, of an image that exposes `exposed`.
    ///
    /// # Errors
    /// When they are too many, or the image's are invalid.
    pub fn published(&self, exposed: &[String]) -> Result<Vec<PublishPort>, ConnectivityError> {
        self.check()?;
        let mut ports = self.ports.clone();
        if self.publish_all {
            let of_image = exposed
                .iter()
                .map(|text| publish::exposed(text).map_err(ConnectivityError::Exposed))
                .collect::<Result<Vec<_>, _>>()?;
            for port in of_image.iter().chain(&self.exposed) {
                let published = |known: &PublishPort| {
                    known.proto == port.proto
                        && known.container_port <= port.container_port
                        && u32::from(port.container_port) + u32::from(port.count)
                            <= u32::from(known.container_port) + u32::from(known.count)
                };
                if !ports.iter().any(published) {
                    ports.push(port.clone());
                }
            }
            publish::check(&ports)?;
        }
        Ok(ports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(networks: &[&str], ports: &[&str]) -> Connectivity {
        Connectivity {
            choices: networks
                .iter()
                .map(|text| attachment::parse(text).unwrap())
                .collect(),
            ports: ports
                .iter()
                .map(|text| publish::parse(text).unwrap())
                .collect(),
            ..Connectivity::default()
        }
    }

    #[test]
    fn without_a_word_it_is_the_default_one() {
        let implied = |connectivity: Connectivity| {
            let networks = connectivity.networks("web");
            assert_eq!(networks[0].network, "default");
            assert_eq!(networks[0].options.hostname, "web");
            networks[0].options.implied
        };
        assert!(implied(with(&[], &[])));
        assert!(!implied(with(&[], &["80"])));
        assert!(!implied(with(&["default"], &[])));
        assert!(with(&["none"], &[]).networks("web").is_empty());
    }

    #[test]
    fn names_are_not_allowed_beside_other_name_servers() {
        let mut connectivity = with(
            &[
                "a,egress=allow=192.0.2.0/24",
                "b,egress=allow=*.b.example:443",
            ],
            &[],
        );
        connectivity.dns = Some(DnsConfiguration::default());
        assert_eq!(connectivity.check(), Ok(()));
        let dns = connectivity.dns.get_or_insert_default();
        dns.nameservers.push("192.0.2.53".into());
        let rule = "*.b.example:443".to_owned();
        assert_eq!(
            connectivity.check(),
            Err(ConnectivityError::Unlearned(rule))
        );
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (networks, ports, error) in [
            (
                &["none", "a"][..],
                &[][..],
                ConnectivityError::NoneAndOthers,
            ),
            (&["none"], &["80"], ConnectivityError::NoNetwork),
            (&["a", "b", "a"], &[], ConnectivityError::Twice("a".into())),
            (
                &[],
                &["80:80", "80:81"],
                ConnectivityError::Ports(TogetherError::Overlap(80)),
            ),
        ] {
            assert_eq!(with(networks, ports).check(), Err(error));
        }
        assert_eq!(with(&["none", "none"], &[]).check(), Ok(()));
    }

    #[test]
    fn all_ports_are_those_of_image_and_flags_that_are_not_published_yet() {
        let mut connectivity = with(&[], &["8080:80", "90-99:90-99"]);
        let exposed = ["80/tcp", "95", "53/udp"].map(str::to_owned);
        let published = |connectivity: &Connectivity| {
            let ports = connectivity.published(&exposed).unwrap();
            let shown = ports
                .iter()
                .map(|port| format!("{}:{}/{}", port.host_port, port.container_port, port.proto));
            shown.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(published(&connectivity), "8080:80/tcp 90:90/tcp");
        connectivity.publish_all = true;
        connectivity.exposed = vec![publish::exposed("443").unwrap()];
        assert_eq!(
            published(&connectivity),
            "8080:80/tcp 90:90/tcp 0:53/udp 0:443/tcp"
        );
        assert!(matches!(
            connectivity.published(&["http".into()]),
            Err(ConnectivityError::Exposed(_))
        ));
    }
}
