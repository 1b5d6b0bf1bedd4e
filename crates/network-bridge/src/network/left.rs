//! Rules of containers that have ended. They let nothing through, because the tap is gone. The kernel takes some 20 ms to free them, and no
//! other rule can be set meanwhile. So they are removed while no container starts or ends, or when their address is given to another
//! container.

use std::net::IpAddr;

use container_api::Error;

use super::{Network, failed};
use crate::filter::member::Member;
use crate::filter::{frames, packets};
use crate::leases::lease::Lease;
use crate::namespace::inside::Request;

/// The most containers whose rules may be left at a time.
const MOST: usize = 64;

/// A container that went, and what it had.
#[derive(Debug)]
pub(super) struct Left {
    container: String,
    lease: Lease,
}

impl Left {
    fn member(&self) -> Option<Member<'_>> {
        Member::of(&self.container, &self.lease)
    }

    /// Whether its rules are in the way of those of `other`.
    fn meets(&self, other: &Member<'_>) -> bool {
        self.member().is_some_and(|member| {
            let is_limited = member.egress.is_some() || other.egress.is_some();
            let mut addresses = member.sources();
            let shared = addresses.any(|address| other.sources().any(|one| one == address));
            member.tap == other.tap || (is_limited && shared)
        })
    }
}

impl Network {
    /// Leaves the rules of `container`, which had `lease` and has no tap any more.
    pub(super) async fn leave(&mut self, container: &str, lease: Lease) -> Result<(), Error> {
        self.left.push(Left {
            container: container.to_owned(),
            lease,
        });
        if self.left.len() > MOST {
            self.sweep().await?;
        }
        Ok(())
    }

    /// Removes rules that are in the way of those of `container`, which is about to be put on the network.
    pub(super) async fn make_way(&mut self, container: &str) -> Result<(), Error> {
        let lease = self.leases.get(container);
        let in_the_way = lease
            .and_then(|lease| Member::of(container, lease))
            .is_some_and(|member| self.left.iter().any(|left| left.meets(&member)));
        if in_the_way {
            self.sweep().await
        } else {
            Ok(())
        }
    }

    /// Removes the rules of all containers that went.
    ///
    /// # Errors
    /// When they can't be removed: the next process of the network does.
    pub async fn sweep(&mut self) -> Result<(), Error> {
        let left = std::mem::take(&mut self.left);
        if left.is_empty() {
            return Ok(());
        }
        let attached = self.leases.all().iter();
        let attached = attached.filter_map(|(container, lease)| Member::of(container, lease));
        let used: Vec<IpAddr> = attached.flat_map(|member| member.addresses()).collect();
        let mut script = String::new();
        for member in left.iter().filter_map(Left::member) {
            script += &frames::dismiss(member.tap);
            script += &packets::dismiss(&member, &used);
        }
        let removed = self.inside.run(Request::Rules(script)).await;
        removed.map_err(failed("remove rules of containers that went"))
    }
}
