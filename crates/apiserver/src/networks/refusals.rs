//! What egress rules have refused, told as events.
//!
//! The kernel counts; networks' processes are asked for the counts as long as a container with rules is on them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use container_api::network::Member;
use container_resource::event::{Action, Attribute};

use super::Networks;
use crate::events::Events;

/// How often counts are looked at.
const INTERVAL: Duration = Duration::from_secs(5);

/// By network and container: how many refused packets were told of; nothing where that is not known, as another apiserver told.
pub(super) type Limited = BTreeMap<(String, String), Option<u64>>;

impl Networks {
    /// Notes that a container may be refused something on a network.
    pub(super) fn limit(&self, network: &str, id: &str, told: Option<u64>) {
        let key = (network.to_owned(), id.to_owned());
        self.limited().insert(key, told);
    }

    /// Tells `events` of packets that are refused, for as long as the networks are there.
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
            for (id, packets) in refused(&mut self.limited(), &name, &reply.members) {
                let attributes = [
                    (Attribute::Network, name.clone()),
                    (Attribute::Packets, packets.to_string()),
                ];
                events.tell(Action::Refuse, &id, attributes);
            }
        }
    }

    fn limited(&self) -> std::sync::MutexGuard<'_, Limited> {
        self.limited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Containers on `network` to which more was refused than was told, with how much more. Those without rules are forgotten.
fn refused(limited: &mut Limited, network: &str, members: &[Member]) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    limited.retain(|(on, id), told| {
        if on != network {
            return true;
        }
        let member = members
            .iter()
            .find(|member| member.attached && member.container == *id);
        // What none of the rules allowed is the last count.
        let Some(count) = member.and_then(|member| member.egress.last()) else {
            return false;
        };
        let more = told.map_or(0, |told| match count.packets.checked_sub(told) {
            Some(more) => more,
            // Another run, which began to count anew.
            None => count.packets,
        });
        if more > 0 {
            found.push((id.clone(), more));
        }
        *told = Some(count.packets);
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

    #[test]
    fn what_is_more_than_was_told() {
        let key = |network: &str, id: &str| (network.to_owned(), id.to_owned());
        let mut limited: Limited = [
            (key("one", "a"), Some(0)),
            (key("one", "met"), None),
            (key("one", "free"), None),
            (key("one", "gone"), Some(1)),
            (key("two", "a"), Some(0)),
        ]
        .into();
        let members = [
            member("a", &[9, 2]),
            member("met", &[7]),
            member("free", &[]),
        ];
        let told = refused(&mut limited, "one", &members);
        assert_eq!(told, [("a".to_owned(), 2)]);
        let keys: Vec<_> = limited.keys().cloned().collect();
        assert_eq!(keys, [key("one", "a"), key("one", "met"), key("two", "a")]);
        assert!(refused(&mut limited, "one", &members).is_empty());
        let members = [member("a", &[0, 1]), member("met", &[8])];
        let told = refused(&mut limited, "one", &members);
        assert_eq!(told, [("a".to_owned(), 1), ("met".to_owned(), 1)]);
    }
}
