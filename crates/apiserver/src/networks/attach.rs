//! Containers on networks: addresses for the life of a container, a tap and ports for a run of it.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use container_api::network::{Addresses, AllocateRequest, AttachRequest, Egress, ReleaseRequest};
use container_api::{Error, Kind};
use container_resource::bundle::Interface;
use container_resource::container::{AttachmentConfiguration, ContainerConfiguration, PublishPort};
use container_resource::domain_name;
use container_resource::network::{DEFAULT_PLUGIN, NetworkMode};

use super::joining::{Joining, Step, without};
use super::process::{Running, is_killed, once_more};
use super::refusals::Told;
use super::warnings::without_host;
use super::{Network, Networks, Spare, address, ports};

/// What a run of a container has of its networks.
#[derive(Debug, Default)]
pub struct Attached {
    /// Its interfaces, in order.
    pub interfaces: Vec<Interface>,
    /// Their taps.
    pub taps: Vec<OwnedFd>,
    /// Ports of the host that lead to it.
    pub ports: Vec<PublishPort>,
    /// What its user has to know.
    pub warnings: Vec<String>,
    /// What goes on beside its start.
    pub joining: Joining,
}

/// What a run of a container has of one network.
struct One {
    interface: Interface,
    /// Its tap, unless its machine has that already.
    tap: Option<OwnedFd>,
    ports: Vec<PublishPort>,
    /// What is to be done beside the start.
    step: Option<Step>,
}

impl Networks {
    /// Notes that the container `id` is on `networks`, which must exist.
    ///
    /// # Errors
    /// The first of them that does not, or has a container with the same name but for its case.
    pub fn join<'n>(
        &self,
        id: &str,
        networks: impl IntoIterator<Item = &'n AttachmentConfiguration>,
    ) -> Result<(), Error> {
        let mut names = BTreeSet::new();
        // Held until it is noted: a network on which nobody is may be deleted at any moment.
        let mut members = self.members();
        for attachment in networks {
            let network = &attachment.network;
            match self.find(network) {
                Err(error) if !attachment.options.implied => return Err(error),
                _ => names.insert(network.clone()),
            };
            // Names have no case: half of what is for one would reach the other.
            let other = members.iter().find(|(other, on)| {
                other.as_str() != id && other.eq_ignore_ascii_case(id) && on.contains(network)
            });
            if let Some((other, _)) = other {
                let text = format!(
                    "container {other} is on network {network}, where {id} would have the same name"
                );
                return Err(Error::new(Kind::Exists, text));
            }
        }
        members.insert(id.to_owned(), names);
        Ok(())
    }

    /// As [`Self::join`], of a container that was made before, whatever has become of its networks.
    pub fn note(&self, id: &str, names: impl IntoIterator<Item = String>) {
        self.members()
            .insert(id.to_owned(), names.into_iter().collect());
    }

    /// Puts a new container on its networks.
    ///
    /// # Errors
    /// As [`Self::join`] and [`Self::allocate`].
    pub async fn arrive(&self, configuration: &ContainerConfiguration) -> Result<(), Error> {
        self.has_left(&configuration.id).await;
        self.join(&configuration.id, &configuration.networks)?;
        self.allocate(configuration).await
    }

    /// Gives what the container `old` has on its networks to `configuration`, which is the same container under another name.
    pub async fn rename(self: &Arc<Self>, old: &str, configuration: &ContainerConfiguration) {
        let mut same = configuration.clone();
        for attachment in &mut same.networks {
            if let Some(addresses) = self.addresses_of(old, &attachment.network).await {
                let options = &mut attachment.options;
                options.ipv4_address = plain(&addresses.ipv4).and_then(|text| text.parse().ok());
                options.ipv6_address = plain(&addresses.ipv6).and_then(|text| text.parse().ok());
                options.mac_address = Some(addresses.mac).filter(|mac| !mac.is_empty());
            }
        }
        self.leave(old);
        self.has_left(old).await;
        if let Err(error) = self.arrive(&same).await {
            // It gets others when it starts.
            tracing::warn!(
                "container {}: its addresses are not kept: {error:#}",
                configuration.id
            );
        }
    }

    async fn addresses_of(&self, id: &str, network: &str) -> Option<Addresses> {
        let network = self.find(network).ok()?;
        let members = network.process.inspect().await.ok()?.members;
        members
            .into_iter()
            .find(|member| member.container == id)?
            .addresses
    }

    /// Gives the container its addresses, for as long as it exists. Where nobody asked for a network, one that cannot be had
    /// is no error: the start tells of it.
    ///
    /// # Errors
    /// When an address that is wanted cannot be had, or a network does not work.
    pub async fn allocate(&self, configuration: &ContainerConfiguration) -> Result<(), Error> {
        self.has_left(&configuration.id).await;
        for attachment in &configuration.networks {
            let allocated = once_more(|| self.allocate_on(configuration, attachment, None)).await;
            match allocated {
                Err(error) if !attachment.options.implied => return Err(error),
                Err(error) => tracing::debug!("container {}: {error:#}", configuration.id),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    async fn allocate_on(
        &self,
        configuration: &ContainerConfiguration,
        attachment: &AttachmentConfiguration,
        spare: Option<&Spare>,
    ) -> Result<Addresses, Error> {
        let network = self.find(&attachment.network)?;
        network.configuration()?;
        self.release_stale(&network).await;
        let request = AllocateRequest {
            spare: spare.map(|spare| spare.name.clone()).unwrap_or_default(),
            ..allocation(configuration, attachment)
        };
        let reply = network
            .process
            .call_once(|mut client| async move { client.allocate(request).await })
            .await?;
        reply
            .addresses
            .ok_or_else(|| Error::new(Kind::Internal, "the network gave no addresses"))
    }

    /// Releases what `network` keeps for containers that are gone: they went while its process, or this one, was not there.
    async fn release_stale(&self, network: &Network) {
        if !network.stale.swap(false, Ordering::Relaxed) {
            return;
        }
        let Ok(reply) = network.process.inspect().await else {
            network.stale.store(true, Ordering::Relaxed);
            return;
        };
        let known = self.members_of(&network.name);
        let gone = reply.members.into_iter().map(|member| member.container);
        for container in gone.filter(|container| !known.contains(container)) {
            tracing::info!("network {}: {container} is gone", network.name);
            let request = ReleaseRequest { container };
            let released = network.process.call(|mut client| {
                let request = request.clone();
                async move { client.release(request).await }
            });
            if let Err(error) = released.await {
                tracing::warn!("{error:#}");
            }
        }
    }

    /// Connects the container for a run; with the tap `spare`, which its machine has, on its only network. What is left to do goes on
    /// beside its start.
    ///
    /// # Errors
    /// When a network that was asked for does not work, or a port is taken. The container is on none of them then.
    pub async fn attach(
        self: &Arc<Self>,
        configuration: &ContainerConfiguration,
        spare: Option<&Spare>,
    ) -> Result<Attached, Error> {
        let mut attached = Attached::default();
        let mut steps = Vec::new();
        self.has_left(&configuration.id).await;
        for (index, attachment) in configuration.networks.iter().enumerate() {
            let published: &[PublishPort] = if index == 0 {
                &configuration.published_ports
            } else {
                &[]
            };
            let one = self
                .attach_again(configuration, attachment, published, spare)
                .await;
            if attachment.options.implied && one.is_err() {
                // It may have failed after the network had taken the container.
                self.detach_from(&configuration.id, &attachment.network)
                    .await;
            }
            attached.warnings.extend(self.astray(&attachment.network));
            attached
                .warnings
                .extend(self.unlearned(configuration, &attachment.network));
            match one {
                Ok(one) => {
                    attached.interfaces.push(one.interface);
                    attached.taps.extend(one.tap);
                    attached.ports.extend(one.ports);
                    steps.extend(one.step);
                }
                // A tap that was made before may be gone, and another be had.
                Err(error) if attachment.options.implied && spare.is_none() => {
                    attached.warnings.push(without(&configuration.id, &error));
                }
                Err(error) => {
                    self.detach(&configuration.id).await;
                    return Err(error);
                }
            }
        }
        attached
            .warnings
            .extend(without_host(configuration, &attached.interfaces));
        self.route(configuration, &mut attached.interfaces);
        attached.joining = self.begin(steps);
        Ok(attached)
    }

    /// As [`Self::attach_to`], once more where the network's process is killed meanwhile: a container is not without a network for
    /// ever because of that.
    async fn attach_again(
        &self,
        configuration: &ContainerConfiguration,
        attachment: &AttachmentConfiguration,
        published: &[PublishPort],
        spare: Option<&Spare>,
    ) -> Result<One, Error> {
        let attach = || self.attach_to(configuration, attachment, published, spare);
        match attach().await {
            Err(error) if is_killed(&error) => {
                self.detach_from(&configuration.id, &attachment.network)
                    .await;
                attach().await
            }
            done => done,
        }
    }

    async fn attach_to(
        &self,
        configuration: &ContainerConfiguration,
        attachment: &AttachmentConfiguration,
        published: &[PublishPort],
        spare: Option<&Spare>,
    ) -> Result<One, Error> {
        let network = self.find(&attachment.network)?;
        let asked = network.configuration()?;
        let running = network.process.serving().await?;
        let egress = attachment.options.egress.as_ref().map(|rules| Egress {
            allow: rules.iter().map(ToString::to_string).collect(),
        });
        let is_limited = egress.is_some() || asked.egress.is_some();
        // Its names may be others since it was made, and its addresses may have been lost with the network's directory.
        let addresses = self.allocate_on(configuration, attachment, spare).await?;
        let mut interface = interface(attachment, &addresses, &running, asked.mode);
        let mut request = AttachRequest {
            container: configuration.id.clone(),
            token: String::new(),
            ports: ports::single(published),
            egress,
            spare: String::new(),
        };
        let mut one_tap = None;
        if let Some(spare) = spare {
            request.spare.clone_from(&spare.name);
            interface.save();
        }
        // Ports are taken before anything starts. A network of others need not have taps to spare.
        let is_beside = published.is_empty() && asked.plugin == DEFAULT_PLUGIN;
        let mut step = None;
        let mut ports = Vec::new();
        if is_beside {
            if spare.is_none() {
                let (name, tap) = self.new_tap(&network).await?;
                (request.spare, one_tap) = (name, Some(tap));
            }
            step = Some(Step {
                network: network.clone(),
                implied: attachment.options.implied,
                request,
            });
        } else {
            let receiver = match spare {
                Some(_) => None,
                None => Some(self.receiver(&network.name).await?),
            };
            if let Some(receiver) = &receiver {
                request.token.clone_from(&receiver.token);
            }
            let reply = network
                .process
                .call_once(|mut client| async move { client.attach(request).await })
                .await?;
            if let Some(receiver) = receiver {
                one_tap = Some(receiver.receive(&network.name).await?);
            }
            ports = ports::ranges(&reply.ports);
        }
        network.process.want(true);
        if is_limited {
            self.limit(&network.name, &configuration.id, Some(Told::default()));
        }
        Ok(One {
            interface,
            tap: one_tap,
            ports,
            step,
        })
    }

    /// Connects a container that runs to the last network of `configuration`, without ports: an interface, of whose device nothing is
    /// known, and its tap.
    ///
    /// # Errors
    /// When that network does not work. The container is not on it then.
    pub async fn attach_further(
        self: &Arc<Self>,
        configuration: &ContainerConfiguration,
    ) -> Result<(Interface, OwnedFd), Error> {
        let Some(attachment) = configuration.networks.last() else {
            return Err(Error::new(Kind::Internal, "no network was asked for"));
        };
        let attached = async {
            let one = self
                .attach_again(configuration, attachment, &[], None)
                .await?;
            self.begin(one.step.into_iter().collect()).joined().await?;
            let missing = || Error::new(Kind::Internal, "the network gave no interface");
            Ok((one.interface, one.tap.ok_or_else(missing)?))
        };
        let attached = attached.await;
        if attached.is_err() {
            self.part(&configuration.id, &attachment.network).await;
        } else {
            self.tell_others(configuration).await;
        }
        attached
    }

    /// Puts a container that runs on `network` once more, which has lost it, with the ports that it had there. The container keeps its
    /// addresses.
    ///
    /// # Errors
    /// When that network does not work.
    pub async fn attach_anew(
        self: &Arc<Self>,
        configuration: &ContainerConfiguration,
        network: &str,
        published: &[PublishPort],
    ) -> Result<(Interface, OwnedFd), Error> {
        let missing = |what: &str| Error::new(Kind::Internal, format!("there is no {what}"));
        let on_it = |attachment: &&AttachmentConfiguration| attachment.network == network;
        let attachment = configuration.networks.iter().find(on_it);
        let attachment = attachment.ok_or_else(|| missing("such network"))?;
        let one = self
            .attach_again(configuration, attachment, published, None)
            .await?;
        self.begin(one.step.into_iter().collect()).joined().await?;
        Ok((one.interface, one.tap.ok_or_else(|| missing("tap"))?))
    }

    /// Whether `network` has lost the container `id`, which should be on it.
    ///
    /// # Errors
    /// When that network does not work.
    pub async fn has_lost(&self, id: &str, network: &str) -> Result<bool, Error> {
        let network = self.find(network)?;
        // What others tell of their links is not known.
        if network.configuration()?.plugin != DEFAULT_PLUGIN {
            return Ok(false);
        }
        let reply = network.process.inspect().await?;
        let member = reply.members.iter().find(|member| member.container == id);
        Ok(member.is_none_or(|member| !member.attached))
    }

    /// Tells each network of a container on which others it is: whoever asks for a name there learns of those.
    pub async fn tell_others(&self, configuration: &ContainerConfiguration) {
        for attachment in &configuration.networks {
            let told = once_more(|| self.allocate_on(configuration, attachment, None)).await;
            if let Err(error) = told {
                tracing::warn!("container {}: {error:#}", configuration.id);
            }
        }
    }

    /// Sees to it that the networks of a container that was found running are served.
    pub fn resume(self: &Arc<Self>, id: &str) {
        let names = self.members().get(id).cloned().unwrap_or_default();
        for network in names.iter().filter_map(|name| self.find(name).ok()) {
            network.process.want(true);
            self.limit(&network.name, id, None);
            tokio::spawn(async move {
                if let Err(error) = network.process.serving().await {
                    tracing::error!("{error:#}");
                }
            });
        }
    }
}

/// What the container is to have on a network.
fn allocation(
    configuration: &ContainerConfiguration,
    AttachmentConfiguration { network, options }: &AttachmentConfiguration,
) -> AllocateRequest {
    let hostname = configuration.hostname.iter();
    let short = configuration
        .hostname
        .iter()
        .filter_map(|name| name.split('.').next())
        .map(str::to_owned);
    let mut names: Vec<String> = Vec::new();
    // A container may have a name that none in the domain name system is.
    for name in std::iter::once(&configuration.id)
        .chain(hostname)
        .cloned()
        .chain(short)
        .chain(options.aliases.iter().cloned())
        .filter_map(|name| domain_name::of_container(&name))
    {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let text = |address: Option<String>| address.unwrap_or_default();
    AllocateRequest {
        container: configuration.id.clone(),
        names,
        ipv4: text(options.ipv4_address.map(|address| address.to_string())),
        ipv6: text(options.ipv6_address.map(|address| address.to_string())),
        mac: text(options.mac_address.clone()),
        mtu: options.mtu.unwrap_or_default(),
        also: configuration
            .networks
            .iter()
            .map(|other| &other.network)
            .filter(|other| *other != network)
            .cloned()
            .collect(),
        spare: String::new(),
    }
}

/// The interface that a container has on a network.
fn interface(
    attachment: &AttachmentConfiguration,
    addresses: &Addresses,
    running: &Running,
    mode: NetworkMode,
) -> Interface {
    let given = |text: &String| Some(text.clone()).filter(|text| address(text).is_some());
    Interface {
        network: attachment.network.clone(),
        hostname: attachment.options.hostname.clone(),
        device_mac: addresses.mac.clone(),
        is_saved: false,
        mac: addresses.mac.clone(),
        mtu: addresses.mtu,
        ipv4_address: given(&addresses.ipv4),
        ipv4_gateway: given(&addresses.gateway),
        ipv6_address: given(&addresses.ipv6),
        ipv6_gateway: given(&addresses.gateway6),
        default_route: mode == NetworkMode::Nat,
        resolvers: addresses.resolvers.clone(),
        is_internal: mode == NetworkMode::HostOnly,
        host_addresses: [&running.about.host, &running.about.host6]
            .into_iter()
            .filter_map(|text| address(text))
            .collect(),
    }
}

/// An address without the length of its prefix.
fn plain(text: &str) -> Option<&str> {
    text.split('/').next().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_none_are_left_out() {
        let mut configuration: ContainerConfiguration = serde_json::from_value(serde_json::json!({
            "id": "Web-1",
            "image": {"reference": "r", "descriptor": {"mediaType": "m", "digest": "sha256:00", "size": 1}},
            "initProcess": {"executable": "sh", "arguments": [], "environment": [], "workingDirectory": "/",
                            "terminal": false, "user": {"id": {"uid": 0, "gid": 0}}},
            "platform": {"os": "linux", "architecture": "amd64"},
            "resources": {"cpus": 1, "memoryInBytes": 1},
            "runtimeHandler": "r",
            "creationDate": "2026-01-01T00:00:00Z",
            "networks": [{"network": "a", "options": {"aliases": ["db"]}}, {"network": "b", "options": {}}]
        }))
        .unwrap();
        let names = |configuration: &ContainerConfiguration| {
            allocation(configuration, &configuration.networks[0]).names
        };
        assert_eq!(names(&configuration), ["web-1", "db"]);
        let request = allocation(&configuration, &configuration.networks[0]);
        assert_eq!(request.also, ["b"]);
        configuration.hostname = Some("host.example".into());
        configuration.id = "a..b".into();
        assert_eq!(names(&configuration), ["host.example", "host", "db"]);
        configuration.id = "redis-7.2".into();
        assert_eq!(names(&configuration)[0], "redis-7.2");
    }
}
