//! What the network is now.

use std::collections::BTreeMap;

use container_api::Error;
use container_api::network::{Counters, Destination, InspectReply, Member, NameCount, RuleCount};
use container_resource::egress::EVERYTHING_ELSE;

use super::{Network, failed};
use crate::filter::run::{self, Family, Ruleset};
use crate::filter::{TABLE, packets};
use crate::leases::lease::{Attached, Lease};
use crate::namespace::inside::Link;
use crate::ports::published::Published;
use crate::relay::asked::Counted;
use crate::relay::published::Open;

impl Network {
    /// All that there is to know.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub async fn inspect(&self) -> Result<InspectReply, Error> {
        let links = self.inside.links().await.map_err(failed("list the taps"))?;
        let limited = |lease: &Lease| {
            let attached = lease.attached.as_ref();
            attached.is_some_and(|attached| attached.egress.is_some())
        };
        let rules = if self.leases.all().values().any(limited) {
            let rules = self.inside.rules(Family::Inet, TABLE).await;
            rules.map_err(failed("list the rules"))?
        } else {
            Ruleset::default()
        };
        let asked = &self.configuration.asked;
        let (ipv4, ipv6) = (self.configuration.ipv4, self.configuration.ipv6);
        let text = |text: Option<String>| text.unwrap_or_default();
        Ok(InspectReply {
            subnet: text(asked.ipv4_subnet.map(|net| net.to_string())),
            gateway: text(ipv4.map(|net| net.gateway().to_string())),
            subnet6: text(asked.ipv6_subnet.map(|net| net.to_string())),
            gateway6: text(ipv6.map(|net| net.gateway().to_string())),
            uplink: self.uplink.message().into(),
            members: self
                .leases
                .all()
                .iter()
                .map(|(container, lease)| self.member(container, lease, &links, &rules))
                .collect(),
            problem: text(self.problem(&links)),
            protocol: container_api::protocol::CURRENT,
            host: text(ipv4.map(|net| net.host().to_string())),
            host6: text(ipv6.map(|net| net.host().to_string())),
        })
    }

    /// What a container received and sent because it was asked whether it listens.
    pub fn asked(&self, container: &str) -> Counters {
        let ports = self.ports.get(container).into_iter().flatten();
        let asked: Counted = ports.map(Open::asked).sum();
        Counters {
            rx_bytes: asked.received.0,
            rx_packets: asked.received.1,
            tx_bytes: asked.sent.0,
            tx_packets: asked.sent.1,
        }
    }

    fn member(&self, container: &str, lease: &Lease, links: &[Link], rules: &Ruleset) -> Member {
        let attached = lease.attached.as_ref();
        let tap = attached.and_then(|attached| links.iter().find(|link| link.name == attached.tap));
        let asked = self.asked(container);
        let counters = tap.map(|tap| Counters {
            rx_bytes: tap.to_machine.0.saturating_sub(asked.rx_bytes),
            rx_packets: tap.to_machine.1.saturating_sub(asked.rx_packets),
            tx_bytes: tap.from_machine.0.saturating_sub(asked.tx_bytes),
            tx_packets: tap.from_machine.1.saturating_sub(asked.tx_packets),
        });
        let refused = attached.map(|attached| self.refused.of(&attached.tap));
        let refused = refused.unwrap_or_default();
        let ports = attached.iter().flat_map(|attached| &attached.ports);
        Member {
            container: container.to_owned(),
            addresses: Some(self.addresses(lease)),
            names: lease.names.clone(),
            // A machine that went without a word is not there.
            attached: tap.is_some(),
            ports: ports.map(Published::message).collect(),
            counters,
            egress: attached
                .filter(|attached| attached.egress.is_some())
                .map(|attached| counts(attached, &rules.counted))
                .unwrap_or_default(),
            refused_names: refused
                .names
                .into_iter()
                .map(|(name, questions)| NameCount { name, questions })
                .collect(),
            refused_other_names: refused.others,
            refused_destinations: attached
                .map(|attached| destinations(&attached.tap, rules))
                .unwrap_or_default(),
        }
    }
}

/// What the tap was refused lately.
fn destinations(tap: &str, rules: &Ruleset) -> Vec<Destination> {
    let sets = [4, 6].map(|number| packets::refused(tap, number));
    let found = sets.iter().filter_map(|set| rules.destinations.get(set));
    found
        .flatten()
        .map(|found| Destination {
            address: found.address.to_string(),
            port: found.port.into(),
            protocol: found.protocol.message().into(),
        })
        .collect()
}

/// Each rule once, in the order in which they were given; then what none of them allowed.
fn counts(attached: &Attached, counted: &[run::Counted]) -> Vec<RuleCount> {
    let chain = packets::chain(&attached.tap);
    // What the network's own rules refuse is refused; what they allow is the container's to count.
    let within = packets::within(&attached.tap);
    let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for rule in counted
        .iter()
        .filter(|rule| rule.chain == chain || rule.chain == within)
    {
        let sum = sums.entry(&rule.comment).or_default();
        sum.0 += rule.packets;
        sum.1 += rule.bytes;
    }
    let count = |comment: &str, rule: String| {
        let (packets, bytes) = sums.get(comment).copied().unwrap_or_default();
        RuleCount {
            rule,
            packets,
            bytes,
        }
    };
    let rules = attached.egress.iter().flatten().enumerate();
    let mut counts: Vec<RuleCount> = rules
        .map(|(index, rule)| count(&index.to_string(), rule.to_string()))
        .collect();
    counts.push(count(packets::REFUSED, EVERYTHING_ELSE.to_owned()));
    counts
}
