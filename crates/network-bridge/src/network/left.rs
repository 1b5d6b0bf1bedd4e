//! Rules and conversations of containers that have ended. They let nothing through, because the tap is gone. The kernel takes some 20 ms to
//! free rules, and no other one can be set meanwhile; and as long to show its conversations. So they are removed while no container starts or
//! ends, or when their address is given out again.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use container_api::Error;

use super::{Network, failed};
use crate::conversations::{self, Meant};
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
    /// Its conversations are over.
    is_silent: bool,
}

impl Left {
    fn member(&self) -> Option<Member<'_>> {
        Member::of(&self.container, &self.lease)
    }

    /// Whether its rules are in the way of those of `other`.
    fn meets(&self, other: &Member<'_>) -> bool {
        self.member().is_some_and(|member| {
            let is_limited = member.egress.is_some() || other.egress.is_some();
            member.tap == other.tap || (is_limited && self.shares(other))
        })
    }

    /// Whether it had an address that `other` has.
    fn shares(&self, other: &Member<'_>) -> bool {
        self.addresses()
            .any(|address| other.sources().any(|one| one == address))
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.member()
            .into_iter()
            .flat_map(|member| member.sources())
    }
}

impl Network {
    /// Leaves the rules of `container`, which had `lease` and has no tap any more.
    pub(super) async fn leave(&mut self, container: &str, lease: Lease) -> Result<(), Error> {
        self.left.push(Left {
            container: container.to_owned(),
            lease,
            is_silent: false,
        });
        if self.left.len() > MOST {
            self.sweep().await?;
        }
        Ok(())
    }

    /// Removes rules that are in the way of those of `container`, which is about to be put on the network, and ends conversations of before that
    /// would be its own.
    pub(super) async fn make_way(&mut self, container: &str) -> Result<(), Error> {
        let lease = self.leases.get(container);
        let Some(member) = lease.and_then(|lease| Member::of(container, lease)) else {
            return Ok(());
        };
        let (mut speaks, mut is_in_the_way) = (false, false);
        for left in &self.left {
            speaks |= !left.is_silent && left.shares(&member);
            is_in_the_way |= left.meets(&member);
        }
        let has_rules = member.egress.is_some();
        if speaks {
            if let Err(error) = self.silence().await {
                if has_rules {
                    return Err(error);
                }
                // A kernel that cannot (nf_conntrack_netlink) would refuse every start for it.
                tracing::warn!("{error:#}");
                self.left.iter_mut().for_each(|left| left.is_silent = true);
            }
        }
        if is_in_the_way {
            self.sweep().await?;
        }
        Ok(())
    }

    /// Ends the conversations of all containers that went.
    async fn silence(&mut self) -> Result<(), Error> {
        let loud = self.left.iter().filter(|left| !left.is_silent);
        let addresses: BTreeSet<IpAddr> = loud.flat_map(Left::addresses).collect();
        let ended = self.end(Meant::of(addresses.clone())).await;
        ended.map_err(failed("end the conversations of containers that went"))?;
        self.directory.end(addresses.into_iter().collect());
        for left in &mut self.left {
            left.is_silent = true;
        }
        Ok(())
    }

    /// Ends conversations in the network and, where the host leads them, on the host.
    pub(super) async fn end(&self, meant: Meant) -> io::Result<()> {
        let inside = self.inside.run(Request::End(meant.clone()));
        let outside = async {
            if self.uplink.is_pair() {
                end_on_host(meant).await?;
            }
            Ok(())
        };
        tokio::try_join!(inside, outside).map(drop)
    }

    /// Removes the rules of all containers that went, and ends their conversations.
    ///
    /// # Errors
    /// When they can't be removed: the next process of the network does.
    pub async fn sweep(&mut self) -> Result<(), Error> {
        if self.left.iter().any(|left| !left.is_silent) {
            if let Err(error) = self.silence().await {
                tracing::warn!("{error:#}");
            }
        }
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

/// Ends conversations that the host knows, beside other work: a host may have hundreds of thousands.
pub(super) async fn end_on_host(meant: Meant) -> io::Result<()> {
    let work = tokio::task::spawn_blocking(move || conversations::end(&meant));
    work.await
        .unwrap_or_else(|error| Err(error.into()))
        .map(drop)
}
