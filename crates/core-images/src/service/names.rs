//! Changing which names there are, and collecting what they leave behind.

use std::collections::BTreeSet;

use container_api::images::{DeleteReply, DeleteRequest, PruneReply, TagReply, TagRequest};
use container_api::{Error, Kind};
use container_resource::digest::Digest;
use container_resource::image::Descriptor;
use container_resource::reference::Version;

use super::fault::Fault;
use crate::image::{self, FindError, Graph};
use crate::store::{Store, StoreError, UNTAGGED};

pub(super) fn tag(store: &Store, request: &TagRequest) -> Result<TagReply, Error> {
    let target = store
        .reference(&request.target)
        .map_err(|error| Error::chain(Kind::InvalidArgument, &error))?;
    if matches!(target.version(), Version::Digest(_)) {
        let text = format!("cannot tag as {target}: a digest cannot be chosen");
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
    let holders = store.leases().holders(&guard);
    for text in &request.references {
        match names_of(store, text) {
            Ok((names, found)) => {
                let users = users(store, &holders, &names, &found).map_err(Fault::fault)?;
                if !users.is_empty() && !request.force {
                    reply.errors.push(conflict(text, &users));
                    continue;
                }
                store
                    .change_names(&guard, |all| {
                        for name in &names {
                            all.remove(name);
                        }
                    })
                    .map_err(Fault::fault)?;
                reply.deleted.extend(names);
            }
            Err(FindError::NotFound(_)) if request.force => {}
            Err(error) => reply.errors.push(error.fault().message),
        }
    }
    reply.reclaimed_bytes = store.collect(&guard).map_err(Fault::fault)?.bytes;
    Ok(reply)
}

/// The containers that would lose their image with `names`. As with Docker a name can go as long as the image has
/// another one.
fn users<'h>(
    store: &Store,
    holders: &'h [(String, Vec<Digest>)],
    names: &[String],
    image: &Descriptor,
) -> Result<Vec<&'h str>, StoreError> {
    let stays = store
        .names()?
        .iter()
        .any(|(name, other)| other.digest == image.digest && !names.iter().any(|own| own == name));
    if stays || holders.is_empty() {
        return Ok(Vec::new());
    }
    let graph = Graph::walk(&mut &*store, image);
    let uses = |held: &[Digest]| {
        let mut variants = graph.variants.iter();
        variants.any(|variant| held.contains(&variant.digest))
    };
    let users = holders.iter().filter(|(_, held)| uses(held));
    Ok(users.map(|(id, _)| id.as_str()).collect())
}

fn conflict(text: &str, users: &[&str]) -> String {
    let (noun, verb) = match users {
        [_] => ("container", "is"),
        _ => ("containers", "are"),
    };
    let users = users.join(", ");
    format!(
        "conflict: unable to delete image {text} (must be forced): {noun} {users} {verb} using it"
    )
}

/// The names that a deletion of `text` takes away, one for a reference, all for an id, and what they stand for.
fn names_of(store: &Store, text: &str) -> Result<(Vec<String>, Descriptor), FindError> {
    let found = image::find(store, text)?;
    let by_id = store.names_of_id(text)?;
    let named_directly = store.normalise(text).is_ok_and(|name| name == found.name);
    let names = if by_id.is_empty() || named_directly {
        vec![found.name]
    } else {
        by_id
    };
    Ok((names, found.descriptor))
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
pub(super) fn unused(
    store: &Store,
    all: bool,
    used: &BTreeSet<Digest>,
) -> Result<Vec<String>, StoreError> {
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
