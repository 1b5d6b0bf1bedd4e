//! What egress rules have refused, told as events.
//!
//! The kernel counts; networks' processes are asked for the counts as long as a container with rules is on them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use container_api::network::{Member, NameCount};
use container_resource::event::{Action, Attribute};

use super::Networks;
use crate::events::Events;

/// How often counts are looked at.
const INTERVAL: Duration = Duration::from_secs(5);

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
}

/// What was refused since.
#[derive(Debug, PartialEq, Eq)]
struct More {
    packets: u64,
    questions: u64,
    /// Some of the names, the last one being the last.
    names: Vec<String>,
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
        }
    }
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
            let Ok(network) = self.find(&name) else {
                self.limited().retain(|(network, _), _| *network != name);
                continue;
            };
            // One that is being started again has its counts still.
            if network.process.present().await.is_none() {
                continue;
            }
            let Ok(reply) = network.process.inspect().await else {
                continue;
            };
            for (id, more) in refused(&mut self.limited(), &name, &reply.members) {
                events.tell(Action::Refuse, &id, more.attributes(&name));
            }
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
        let member = members
            .iter()
            .find(|member| member.attached && member.container == *id);
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
    use container_api::network::RuleCount;

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
            member("a", &[9, 2]),
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
