//! Changing which names there are, and collecting what they leave behind.

use std::collections::BTreeSet;

use container_api::images::{DeleteReply, DeleteRequest, PruneReply, TagReply, TagRequest};
use container_api::{Error, Kind};
use container_resource::digest::Digest;
use container_resource::reference::Version;

use super::fault::Fault;
use crate::image::{self, FindError, Graph};
use crate::store::{Store, StoreError, UNTAGGED};

pub(super) fn tag(store: &Store, request: &TagRequest) -> Result<TagReply, Error> {
    let target = store
        .reference(&request.target)
        .map_err(|error| Error::chain(Kind::InvalidArgument, &error))?;
    if matches!(target.version(), Version::Digest(_)) {
        let text = format!("cannot tag as {target}: a digest can't be chosen");
        return Err(Error::new(Kind::InvalidArgument, text));
    }
    let reference = target.to_string();
    // Found under the lock, so that the image can't be deleted in between.
    let guard = store.lock();
    let found = image::find(store, &request.source).map_err(Fault::fault)?;
    let name = reference.clone();
    store
        .change_names(&guard, |names| names.insert(name, found.descriptor))
        .map_err(Fault::fault)?;
    Ok(TagReply { reference })
}

pub(super) fn delete(store: &Store, request: &DeleteRequest) -> Result<DeleteReply, Error> {
    let mut reply = DeleteReply::default();
    let guard = store.lock();
    for text in &request.references {
        match names_of(store, text) {
            Ok(found) => {
                store
                    .change_names(&guard, |names| {
                        for name in &found {
                            names.remove(name);
                        }
                    })
                    .map_err(Fault::fault)?;
                reply.deleted.extend(found);
            }
            Err(FindError::NotFound(_)) if request.force => {}
            Err(error) => reply.errors.push(error.fault().message),
        }
    }
    reply.reclaimed_bytes = store.collect(&guard).map_err(Fault::fault)?.bytes;
    Ok(reply)
}

/// The names that a deletion of `text` takes away: one for a reference, all for an id.
fn names_of(store: &Store, text: &str) -> Result<Vec<String>, FindError> {
    let found = image::find(store, text)?;
    let by_id = store.names_of_id(text)?;
    let named_directly = store.normalise(text).is_ok_and(|name| name == found.name);
    Ok(if by_id.is_empty() || named_directly {
        vec![found.name]
    } else {
        by_id
    })
}

pub(super) fn prune(store: &Store, all: bool) -> Result<PruneReply, Error> {
    let guard = store.lock();
    let used: BTreeSet<Digest> = store.leases().held(&guard).into_iter().collect();
    let untagged = unused(store, all, &used).map_err(Fault::fault)?;
    store
        .change_names(&guard, |names| {
            for name in &untagged {
                names.remove(name);
            }
        })
        .map_err(Fault::fault)?;
    let collected = store.collect(&guard).map_err(Fault::fault)?;
    Ok(PruneReply {
        untagged,
        deleted: collected.blobs.iter().map(Digest::to_string).collect(),
        reclaimed_bytes: collected.bytes,
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
