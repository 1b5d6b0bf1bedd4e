//! Whether somebody takes a table of the host away: `nft flush ruleset`, with which a host's own rules often begin (nft(8)).
//!
//! The kernel tells of every change of tables, to whoever is in the group `NFNLGRP_NFTABLES` (`linux/netfilter/nfnetlink.h`).

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use rustix::net::netlink::NETFILTER;
use tokio::time::Instant;

use crate::netlink::group::{Group, Heard};
use crate::netlink::{FAMILY, attributes, messages};

/// `NFNLGRP_NFTABLES`, 7, as a bit.
const GROUP: u32 = 1 << 6;
/// `NFNL_SUBSYS_NFTABLES` and its messages `NFT_MSG_NEWTABLE` and `NFT_MSG_DELTABLE` (`linux/netfilter/nf_tables.h`).
const NEW_TABLE: u16 = 10 << 8;
const DELETED_TABLE: u16 = 10 << 8 | 2;
/// `NFPROTO_INET`.
const INET: u8 = 1;
/// `NFTA_TABLE_NAME`.
const NAME: u16 = 1;
/// How long a table may be missing: one transaction takes it away and makes it anew.
const SETTLED: Duration = Duration::from_millis(100);

/// Hears of inet tables.
#[derive(Debug)]
pub struct Watch {
    group: Group,
    names: Vec<String>,
    /// Those that are gone now.
    missing: BTreeSet<String>,
    /// When they have been so long enough.
    settled: Option<Instant>,
}

/// What has become of a table.
#[derive(Debug, PartialEq, Eq)]
struct Change<'m> {
    table: &'m [u8],
    is_deleted: bool,
}

impl Watch {
    /// Of the host's tables `names`, from now on.
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`.
    pub fn new(names: &[&str]) -> io::Result<Self> {
        Ok(Self {
            group: Group::join(Some(NETFILTER), GROUP)?,
            names: names.iter().map(|&name| name.to_owned()).collect(),
            missing: BTreeSet::new(),
            settled: None,
        })
    }

    /// Waits until one of the tables is gone and stays so, or may be: what the kernel tells can be lost. What was heard stays if the wait is
    /// given up.
    ///
    /// # Errors
    /// As `read(2)`.
    pub async fn gone(&mut self) -> io::Result<()> {
        loop {
            let Heard::Messages(bytes) = self.group.hear(self.settled).await? else {
                self.missing.clear();
                self.settled = None;
                return Ok(());
            };
            for change in changes(bytes) {
                let mut names = self.names.iter();
                let Some(name) = names.find(|name| name.as_bytes() == change.table) else {
                    continue;
                };
                if change.is_deleted {
                    self.missing.insert(name.clone());
                } else {
                    self.missing.remove(name);
                }
            }
            self.settled = if self.missing.is_empty() {
                None
            } else {
                self.settled.or_else(|| Some(Instant::now() + SETTLED))
            };
        }
    }
}

/// The changes of inet tables in what the kernel wrote.
fn changes(bytes: &[u8]) -> impl Iterator<Item = Change<'_>> {
    messages(bytes).filter_map(|message| {
        let is_of_table = message.kind == NEW_TABLE || message.kind == DELETED_TABLE;
        if !is_of_table || message.body.first() != Some(&INET) {
            return None;
        }
        let mut attributes = attributes(message.body.get(FAMILY..)?);
        let name = attributes.find(|attribute| attribute.kind == NAME)?;
        Some(Change {
            table: name.value.strip_suffix(&[0])?,
            is_deleted: message.kind == DELETED_TABLE,
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message about a table of `family`.
    fn message(kind: u16, family: u8, table: &str) -> Vec<u8> {
        let mut attributes = vec![8, 0, 2, 0, 0, 0, 0, 1];
        let length = u16::try_from(4 + table.len() + 1).unwrap();
        attributes.extend(length.to_ne_bytes());
        attributes.extend(NAME.to_ne_bytes());
        attributes.extend(table.as_bytes());
        attributes.push(0);
        crate::netlink::message(kind, 0, 0, family, &attributes)
    }

    #[test]
    fn changes_of_tables_are_found_among_others() {
        let bytes = [
            message(NEW_TABLE | 3, INET, "chain"),
            message(DELETED_TABLE, INET, "one"),
            message(DELETED_TABLE, 7, "bridge"),
            message(NEW_TABLE, INET, "container_networks"),
        ]
        .concat();
        let found: Vec<_> = changes(&bytes).collect();
        let change = |table: &'static str, is_deleted| Change {
            table: table.as_bytes(),
            is_deleted,
        };
        let expected = [change("one", true), change("container_networks", false)];
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..60) {
            changes(&bytes).for_each(drop);
            let whole = message(DELETED_TABLE, INET, "some-table");
            changes(&whole[..cut.min(whole.len())]).for_each(drop);
        }
    }
}
