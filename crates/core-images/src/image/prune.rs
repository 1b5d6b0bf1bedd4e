//! Removing images that no container uses, and the space that this would free.

use std::collections::BTreeSet;

use container_resource::digest::Digest;
use container_resource::image::Descriptor;

use super::Graph;
use crate::store::{Collected, Shares, Store, StoreError, UNTAGGED, Usage};

/// What was removed.
#[derive(Debug)]
pub struct Pruned {
    /// Names that are gone.
    pub names: Vec<String>,
    /// Files that are.
    pub collected: Collected,
}

/// Removes the images without a tag, or `all`, that no container uses.
///
/// # Errors
/// When the store fails.
pub fn prune(store: &Store, all: bool) -> Result<Pruned, StoreError> {
    let guard = store.lock();
    let used: BTreeSet<Digest> = store.leases().held(&guard).into_iter().collect();
    let unused = unused(store, all, &used)?;
    store.change_names(&guard, |names| {
        for name in &unused {
            names.remove(name);
        }
    })?;
    Ok(Pruned {
        names: unused,
        collected: store.collect(&guard)?,
    })
}

/// What images take, and what could be had back.
#[derive(Debug)]
pub struct DiskUsage {
    /// References.
    pub total: u64,
    /// Those of them that a container is made of.
    pub active: u64,
    /// Disk space; what is reclaimable, `prune` of all would give back.
    pub usage: Usage,
    /// All names, in the order of `shares`.
    pub names: Vec<String>,
    /// What each takes.
    pub shares: Shares,
}

/// Looks at everything. `active` are the normalised references of the images that containers are made of.
///
/// # Errors
/// When the store fails.
pub fn disk_usage(store: &Store, active: &[String]) -> Result<DiskUsage, StoreError> {
    let guard = store.lock();
    let held = store.leases().held(&guard);
    let names = store.names()?;
    let used: BTreeSet<Digest> = held.iter().copied().collect();
    let unused = unused(store, true, &used)?;
    let stays = |name: &str| !unused.iter().any(|unused| unused == name);
    let left: Vec<Descriptor> = names
        .iter()
        .filter(|(name, _)| stays(name))
        .map(|(_, descriptor)| descriptor.clone())
        .collect();
    let is_active = |name: &str| active.iter().any(|active| active == name) && stays(name);
    let all: Vec<Descriptor> = names
        .iter()
        .map(|(_, descriptor)| descriptor.clone())
        .collect();
    Ok(DiskUsage {
        shares: store.shares(&all),
        names: names.iter().map(|(name, _)| name.to_owned()).collect(),
        total: names.iter().count() as u64,
        active: names.iter().filter(|(name, _)| is_active(name)).count() as u64,
        usage: store.usage(&left, &held),
    })
}

/// Names without a tag (or all) whose image no container uses.
fn unused(store: &Store, all: bool, used: &BTreeSet<Digest>) -> Result<Vec<String>, StoreError> {
    let names = store.names()?;
    let unused = names.iter().filter(|(name, descriptor)| {
        let candidate = all || name.starts_with(UNTAGGED);
        let is_used = || {
            let graph = Graph::walk(&mut &*store, descriptor);
            graph
                .variants
                .iter()
                .any(|variant| used.contains(&variant.digest))
        };
        candidate && !is_used()
    });
    Ok(unused.map(|(name, _)| name.to_owned()).collect())
}
