//! What egress rules have refused, told as events.
//!
//! The kernel counts; networks' processes are asked for the counts as long as a container with rules is on them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use container_api::network::{Member, NameCount, Protocol};
use container_resource::event::{Action, Attribute};

use super::Networks;
use crate::events::Events;

/// How often counts are looked at.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long a network's process takes to hear of the last names that were refused: longer than they are gathered there (`refused_names.rs` of
/// its crate).
const GATHERING: Duration = Duration::from_millis(300);

/// The most names of a network's answer that are looked at.
const MOST_NAMES: usize = 64;
/// The most names that one event tells.
const MOST_TOLD: usize = 8;

/// By network and container: what was told of; nothing where that is not known, as another apiserver told.
pub(super) type Limited = BTreeMap<(String, String), Option<Told>>;

/// What was refused to a container, as far as it was told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    packets: u64,
    /// Questions for names, of which some are known.
    questions: u64,
    names: BTreeMap<String, u64>,
    destinations: BTreeSet<String>,
}

/// What was refused since.
#[derive(Debug, PartialEq, Eq)]
struct More {
    packets: u64,
    questions: u64,
    /// Some of the names, the last one being the last.
    names: Vec<String>,
    /// Some of the destinations that were not among those at the last look.
    destinations: Vec<String>,
}

impl Told {
    /// What `member` says now; nothing when it has no rules.
    fn of(member: &Member) -> Option<Self> {
        // What none of the rules allowed is the last count.
        let packets = member.egress.last()?.packets;
        let known = member.refused_names.iter().map(|count| count.questions);
        let others = member.refused_other_names;
        Some(Self {
            packets,
            questions: known.fold(others, u64::saturating_add),
            names: names(member)
                .map(|count| (count.name.clone(), count.questions))
                .collect(),
            destinations: destinations(member).collect(),
        })
    }

    fn more(&self, now: &Self, member: &Member) -> More {
        // Fewer than before are another run's, which began to count anew.
        let more = |now: u64, told: u64| now.checked_sub(told).unwrap_or(now);
        let asked =
            names(member).filter(|count| self.names.get(&count.name) != Some(&count.questions));
        let mut names: Vec<String> = asked.map(|count| count.name.clone()).collect();
        names.drain(..names.len().saturating_sub(MOST_TOLD));
        More {
            packets: more(now.packets, self.packets),
            questions: more(now.questions, self.questions),
            names,
            destinations: now
                .destinations
                .difference(&self.destinations)
                .take(MOST_TOLD)
                .cloned()
                .collect(),
        }
    }
}

/// Where refused packets were for.
pub(super) fn destinations(member: &Member) -> impl Iterator<Item = String> {
    let told = member.refused_destinations.iter().take(MOST_NAMES);
    told.filter_map(|destination| {
        // The network may be another author's.
        let address: IpAddr = destination.address.parse().ok()?;
        let port = u16::try_from(destination.port).ok()?;
        let protocol = match destination.protocol() {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        Some(format!("{}/{protocol}", SocketAddr::new(address, port)))
    })
}

fn names(member: &Member) -> impl Iterator<Item = &NameCount> {
    member.refused_names.iter().take(MOST_NAMES)
}

impl More {
    fn is_nothing(&self) -> bool {
        self.packets == 0 && self.questions == 0
    }

    fn attributes(self, network: &str) -> Vec<(Attribute, String)> {
        let mut attributes = vec![(Attribute::Network, network.to_owned())];
        if self.packets > 0 {
            attributes.push((Attribute::Packets, self.packets.to_string()));
        }
        if self.questions > 0 {
            attributes.push((Attribute::Questions, self.questions.to_string()));
        }
        if !self.names.is_empty() {
            attributes.push((Attribute::Names, self.names.join(",")));
        }
        if self.packets > 0 && !self.destinations.is_empty() {
            attributes.push((Attribute::Destinations, self.destinations.join(",")));
        }
        attributes
    }
}

impl Networks {
    /// Notes that a container may be refused something on a network.
    pub(super) fn limit(&self, network: &str, id: &str, told: Option<Told>) {
        let key = (network.to_owned(), id.to_owned());
        self.limited().insert(key, told);
    }

    /// Tells `events` of packets and names that are refused, for as long as the networks are there.
    pub fn watch_refusals(self: &Arc<Self>, events: Events) {
        // It is called once.
        let _ = self.events.set(events.clone());
        let networks = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                let Some(networks) = networks.upgrade() else {
                    return;
                };
                networks.tell_refusals(&events).await;
            }
        });
    }

    async fn tell_refusals(&self, events: &Events) {
        let names: BTreeSet<String> = self
            .limited()
            .keys()
            .map(|(network, _)| network.clone())
            .collect();
        for name in names {
            self.tell_refusals_on(&name, events).await;
        }
    }

    async fn tell_refusals_on(&self, name: &str, events: &Events) {
        let Ok(network) = self.find(name) else {
            self.limited().retain(|(network, _), _| network != name);
            return;
        };
        // One that is being started again has its counts still.
        if network.process.present().await.is_none() {
            return;
        }
        let Ok(reply) = network.process.inspect().await else {
            return;
        };
        for (id, more) in refused(&mut self.limited(), name, &reply.members) {
            events.tell(Action::Refuse, &id, more.attributes(name));
        }
    }

    /// Tells of what was refused to a container that has ended, before its networks forget it.
    pub(super) async fn tell_last_refusals(&self, id: &str) {
        let names: Vec<String> = self
            .limited()
            .keys()
            .filter(|(_, container)| container == id)
            .map(|(network, _)| network.clone())
            .collect();
        let Some(events) = self.events.get().filter(|_| !names.is_empty()) else {
            return;
        };
        tokio::time::sleep(GATHERING).await;
        for name in names {
            self.tell_refusals_on(&name, events).await;
        }
    }

    fn limited(&self) -> std::sync::MutexGuard<'_, Limited> {
        self.limited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Containers on `network` to which more was refused than was told, with what more. Those without rules are forgotten.
fn refused(limited: &mut Limited, network: &str, members: &[Member]) -> Vec<(String, More)> {
    let mut found = Vec::new();
    limited.retain(|(on, id), told| {
        if on != network {
            return true;
        }
        // One that has ended has its counts until it is taken off the network.
        let member = members.iter().find(|member| member.container == *id);
        let Some((member, now)) = member.and_then(|member| Some((member, Told::of(member)?)))
        else {
            return false;
        };
        let more = told.as_ref().map(|told| told.more(&now, member));
        if let Some(more) = more.filter(|more| !more.is_nothing()) {
            found.push((id.clone(), more));
        }
        *told = Some(now);
        true
    });
    found
}

#[cfg(test)]
mod tests {
    use container_api::network::{Destination, RuleCount};

    use super::*;

    fn member(id: &str, counts: &[u64]) -> Member {
        Member {
            container: id.into(),
            attached: true,
            egress: counts
                .iter()
                .map(|packets| RuleCount {
                    packets: *packets,
                    ..RuleCount::default()
                })
                .collect(),
            ..Member::default()
        }
    }

    fn packets(told: Vec<(String, More)>) -> Vec<(String, u64)> {
        told.into_iter()
            .map(|(id, more)| (id, more.packets))
            .collect()
    }

    #[test]
    fn names_that_are_more_than_were_told() {
        let key = ("one".to_owned(), "a".to_owned());
        let mut limited: Limited = [(key, Some(Told::default()))].into();
        let mut asked = |names: &[(&str, u64)], others: u64| {
            let count = |(name, questions): &(&str, u64)| NameCount {
                name: (*name).into(),
                questions: *questions,
            };
            let member = Member {
                refused_names: names.iter().map(count).collect(),
                refused_other_names: others,
                ..member("a", &[0])
            };
            let told = refused(&mut limited, "one", &[member]).pop();
            told.map(|(_, more)| more.attributes("one"))
        };
        let attributes = |questions: &str, names: &str| {
            Some(vec![
                (Attribute::Network, "one".to_owned()),
                (Attribute::Questions, questions.to_owned()),
                (Attribute::Names, names.to_owned()),
            ])
        };
        assert_eq!(
            asked(&[("x.test", 2), ("y.test", 1)], 0),
            attributes("3", "x.test,y.test")
        );
        assert_eq!(asked(&[("x.test", 2), ("y.test", 1)], 0), None);
        assert_eq!(
            asked(&[("y.test", 1), ("x.test", 3)], 0),
            attributes("1", "x.test")
        );
        // One event has a few of many names.
        let many: Vec<String> = (0..30).map(|number| format!("{number}.test")).collect();
        let many: Vec<(&str, u64)> = many.iter().map(|name| (name.as_str(), 1)).collect();
        let last = "22.test,23.test,24.test,25.test,26.test,27.test,28.test,29.test";
        assert_eq!(asked(&many, 1004), attributes("1030", last));
        // Another process of the network, which counts anew.
        assert_eq!(asked(&[("x.test", 1)], 0), attributes("1", "x.test"));
    }

    #[test]
    fn destinations_are_told_once() {
        let key = ("one".to_owned(), "a".to_owned());
        let mut limited: Limited = [(key, Some(Told::default()))].into();
        let mut told = |packets, ports: &[u32]| {
            let destination = |port: &u32| Destination {
                address: "2001:db8::1".into(),
                port: *port,
                protocol: Protocol::Udp.into(),
            };
            let member = Member {
                refused_destinations: ports.iter().map(destination).collect(),
                ..member("a", &[packets])
            };
            let told = refused(&mut limited, "one", &[member]).pop();
            told.map(|(_, more)| more.attributes("one"))
        };
        let told_of = |packets: &str, destinations: &str| {
            let mut attributes = vec![
                (Attribute::Network, "one".to_owned()),
                (Attribute::Packets, packets.to_owned()),
            ];
            if !destinations.is_empty() {
                attributes.push((Attribute::Destinations, destinations.to_owned()));
            }
            Some(attributes)
        };
        assert_eq!(told(2, &[53, 70000]), told_of("2", "[2001:db8::1]:53/udp"));
        assert_eq!(told(3, &[53]), told_of("1", ""));
        assert_eq!(told(3, &[53]), None);
        let many: Vec<u32> = (1000..1032).collect();
        let attributes = told(40, &many).unwrap();
        let (_, text) = attributes.last().unwrap();
        assert_eq!(text.split(',').count(), MOST_TOLD);
    }

    #[test]
    fn what_is_more_than_was_told() {
        let told = |packets| {
            Some(Told {
                packets,
                ..Told::default()
            })
        };
        let key = |network: &str, id: &str| (network.to_owned(), id.to_owned());
        let mut limited: Limited = [
            (key("one", "a"), told(0)),
            (key("one", "met"), None),
            (key("one", "free"), None),
            (key("one", "gone"), told(1)),
            (key("two", "a"), told(0)),
        ]
        .into();
        let members = [
            Member {
                // It has just ended.
                attached: false,
                ..member("a", &[9, 2])
            },
            member("met", &[7]),
            member("free", &[]),
        ];
        let told = packets(refused(&mut limited, "one", &members));
        assert_eq!(told, [("a".to_owned(), 2)]);
        let keys: Vec<_> = limited.keys().cloned().collect();
        assert_eq!(keys, [key("one", "a"), key("one", "met"), key("two", "a")]);
        assert!(refused(&mut limited, "one", &members).is_empty());
        let members = [member("a", &[0, 1]), member("met", &[8])];
        let told = packets(refused(&mut limited, "one", &members));
        assert_eq!(told, [("a".to_owned(), 1), ("met".to_owned(), 1)]);
    }
}
