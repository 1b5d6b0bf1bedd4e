//! Questions about images.

use std::collections::BTreeSet;

use container_api::images::{DiskUsageReply, DiskUsageRequest, GetReply, GetRequest, ListReply};
use container_api::{Error, Kind};
use container_resource::digest::Digest;
use container_resource::image::Descriptor;
use container_resource::platform::Platform;

use super::fault::Fault;
use super::names;
use crate::image::{self, Graph};
use crate::store::Store;

pub(super) fn list(store: &Store) -> Result<ListReply, Error> {
    let images = image::list(store).map_err(Fault::fault)?;
    Ok(ListReply {
        images: json(&images)?,
    })
}

pub(super) fn get(store: &Store, request: &GetRequest) -> Result<GetReply, Error> {
    let found = image::find(store, &request.reference).map_err(Fault::fault)?;
    let platform = platform(&request.platform)?;
    let graph = Graph::walk(&mut &*store, &found.descriptor);
    let Some(variant) = graph.variant(&platform) else {
        return Err(no_variant(&found.name, &platform, &graph));
    };
    Ok(GetReply {
        image: json(&image::resource(&found.name, &found.descriptor, &graph))?,
        descriptor: json(&found.descriptor)?,
        reference: found.name,
        manifest_digest: variant.digest.to_string(),
        config: variant.config_bytes.clone().into(),
    })
}

pub(super) fn disk_usage(
    store: &Store,
    request: &DiskUsageRequest,
) -> Result<DiskUsageReply, Error> {
    let guard = store.lock();
    let held = store.leases().held(&guard);
    let names = store.names().map_err(Fault::fault)?;
    let used: BTreeSet<Digest> = held.iter().copied().collect();
    // What `image prune --all` would leave.
    let unused = names::unused(store, true, &used).map_err(Fault::fault)?;
    let left: Vec<Descriptor> = names
        .iter()
        .filter(|(name, _)| !unused.iter().any(|unused| unused == name))
        .map(|(_, descriptor)| descriptor.clone())
        .collect();
    let usage = store.usage(&left, &held);
    let references: BTreeSet<&String> = request.active.iter().collect();
    let active = names.iter().filter(|(name, _)| {
        references
            .iter()
            .any(|reference| reference.as_str() == *name)
            && !unused.iter().any(|unused| unused == name)
    });
    Ok(DiskUsageReply {
        total: names.iter().count() as u64,
        active: active.count() as u64,
        size_bytes: usage.images.total,
        reclaimable_bytes: usage.images.reclaimable,
        views: usage.views.files,
        active_views: usage.views.needed_files,
        views_bytes: usage.views.total,
        reclaimable_views_bytes: usage.views.reclaimable,
    })
}

/// The platform that a request means: the host's when it says nothing.
pub(super) fn platform(text: &str) -> Result<Platform, Error> {
    if text.is_empty() {
        return Ok(Platform::host());
    }
    text.parse()
        .map_err(|error| Error::chain(Kind::InvalidArgument, &error))
}

/// Why there is no image for `platform`.
pub(super) fn no_variant(name: &str, platform: &Platform, graph: &Graph) -> Error {
    if let Some(damage) = graph.damage.first().filter(|_| graph.variants.is_empty()) {
        return Error::chain(Kind::InvalidState, damage)
            .context(format!("image {name} is damaged"))
            .with_hint("Pull or load it again.");
    }
    if let Some(kind) = graph
        .artifacts
        .first()
        .filter(|_| graph.variants.is_empty())
    {
        let text =
            format!("{name} is no image that can run: its configuration is of the type {kind:?}");
        return Error::new(Kind::Unsupported, text);
    }
    let text = format!(
        "image {name} has no content for platform {platform}, available platforms: {}",
        graph.platforms()
    );
    Error::new(Kind::Unsupported, text)
}

fn json<T: From<Vec<u8>>>(value: &impl serde::Serialize) -> Result<T, Error> {
    serde_json::to_vec(value)
        .map(T::from)
        .map_err(|error| Error::chain(Kind::Internal, &error))
}
