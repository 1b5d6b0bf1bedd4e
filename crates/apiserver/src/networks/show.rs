//! Networks as they are listed and inspected.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use container_api::network::{self, InspectReply, Member};
use container_resource::network::NetworkConfiguration;
use container_resource::network_status::{
    EgressCount, ManagedNetwork, NetworkMember, NetworkStatus, RefusedName, Uplink,
};
use ipnet::{Ipv4Net, Ipv6Net};

use super::process::NetworkProcess;
use super::refusals::destinations;
use super::routes::{self, Route};
use super::{Network, Networks, address, ports, subnet};

/// How long a network's process may take to answer who looks: less than a client waits for the service.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);

impl Networks {
    /// Those of `names` that exist, all where it is empty, with their containers where `members` are wanted.
    pub async fn list(&self, names: &[String], members: bool) -> Vec<ManagedNetwork> {
        let networks: Vec<_> = self
            .entries()
            .values()
            .filter(|network| names.is_empty() || names.contains(&network.name))
            .cloned()
            .collect();
        let routes = &routes::all();
        let shown = networks
            .iter()
            .map(|network| async move { self.show(network, members, routes).await });
        futures::future::join_all(shown).await
    }

    async fn show(&self, network: &Network, members: bool, routes: &[Route]) -> ManagedNetwork {
        let (reply, reason) = if members {
            inspect(network).await
        } else {
            (None, None)
        };
        let mut status = match &network.configuration {
            Ok(configuration) => NetworkStatus {
                problem: subnet::astray(configuration, routes),
                reason,
                ..of(configuration)
            },
            Err(reason) => NetworkStatus {
                reason: Some(reason.clone()),
                ..NetworkStatus::default()
            },
        };
        status.uplink = reply.as_ref().map(|reply| uplink(reply.uplink()));
        let told = reply.as_ref().map(|reply| reply.problem.clone());
        let told = told.filter(|problem| !problem.is_empty());
        status.problem = told.or(status.problem);
        if members {
            let known = self.members_of(&network.name);
            let told = reply.map(|reply| reply.members).unwrap_or_default();
            status.containers = Some(known.into_iter().map(|id| member(id, &told)).collect());
        }
        ManagedNetwork {
            id: network.name.clone(),
            configuration: network
                .configuration
                .clone()
                .unwrap_or_else(|_| damaged(&network.name)),
            status,
        }
    }
}

/// As [`asked`], within [`SHOWN_WITHIN`]. The question goes on, so that a process that hangs is replaced.
async fn inspect(network: &Network) -> (Option<InspectReply>, Option<String>) {
    let process = Arc::clone(&network.process);
    let asking = tokio::spawn(async move { asked(&process).await });
    match tokio::time::timeout(SHOWN_WITHIN, asking).await {
        // It does not panic.
        Ok(told) => told.unwrap_or_default(),
        Err(_) => (
            network.process.last_said(),
            Some(format!(
                "network {}: its process does not answer",
                network.name
            )),
        ),
    }
}

/// What the network's process says, if there is one or has to be; else what it said last, and why it does not now.
async fn asked(process: &Arc<NetworkProcess>) -> (Option<InspectReply>, Option<String>) {
    if !process.is_wanted() && process.present().await.is_none() {
        return (None, None);
    }
    match process.inspect_present().await {
        Ok(reply) => (Some(reply), None),
        Err(error) => {
            tracing::warn!("{error:#}");
            (process.last_said(), Some(error.message()))
        }
    }
}

fn uplink(told: network::Uplink) -> Uplink {
    match told {
        network::Uplink::None => Uplink::None,
        network::Uplink::Veth => Uplink::Veth,
        network::Uplink::Pasta => Uplink::Pasta,
        network::Uplink::Slirp4netns => Uplink::Slirp4netns,
    }
}

/// What follows from the configuration alone.
fn of(configuration: &NetworkConfiguration) -> NetworkStatus {
    let second4 = |net: Ipv4Net| Ipv4Addr::from_bits(net.network().to_bits().saturating_add(1));
    let second6 = |net: Ipv6Net| Ipv6Addr::from_bits(net.network().to_bits().saturating_add(1));
    NetworkStatus {
        ipv4_subnet: configuration.ipv4_subnet,
        ipv4_gateway: configuration.ipv4_subnet.map(second4),
        ipv6_subnet: configuration.ipv6_subnet,
        ipv6_gateway: configuration.ipv6_subnet.map(second6),
        ..NetworkStatus::default()
    }
}

fn member(id: String, told: &[Member]) -> NetworkMember {
    let Some(member) = told.iter().find(|member| member.container == id) else {
        return NetworkMember {
            id,
            ..NetworkMember::default()
        };
    };
    let addresses = member.addresses.clone().unwrap_or_default();
    let counters = member.counters.unwrap_or_default();
    let shown = |text: String| match address(&text) {
        Some(_) => text,
        None => String::new(),
    };
    NetworkMember {
        id,
        attached: member.attached,
        ipv4_address: shown(addresses.ipv4),
        ipv6_address: shown(addresses.ipv6),
        mac_address: addresses.mac,
        names: member.names.clone(),
        published_ports: ports::ranges(&member.ports),
        rx_bytes: counters.rx_bytes,
        rx_packets: counters.rx_packets,
        tx_bytes: counters.tx_bytes,
        tx_packets: counters.tx_packets,
        egress: member
            .egress
            .iter()
            .map(|count| EgressCount {
                rule: count.rule.clone(),
                packets: count.packets,
                bytes: count.bytes,
            })
            .collect(),
        refused_names: member
            .refused_names
            .iter()
            .map(|count| RefusedName {
                name: count.name.clone(),
                questions: count.questions,
            })
            .collect(),
        refused_other_names: member.refused_other_names,
        refused_destinations: destinations(member).collect(),
    }
}

/// Stands for a configuration that cannot be read, so that the network is listed at all.
fn damaged(name: &str) -> NetworkConfiguration {
    NetworkConfiguration {
        name: name.to_owned(),
        creation_date: jiff::Timestamp::UNIX_EPOCH,
        mode: container_resource::network::NetworkMode::default(),
        ipv4_subnet: None,
        ipv6_subnet: None,
        mtu: container_resource::network::DEFAULT_MTU,
        egress: None,
        labels: std::collections::BTreeMap::new(),
        plugin: String::new(),
        options: std::collections::BTreeMap::new(),
    }
}
