//! Calls about names of images, translated: their meaning is in `image/`.

use container_api::Error;
use container_api::images::{
    DeleteReply, DeleteRequest, DiskUsageReply, DiskUsageRequest, ImageSpace, PruneReply, TagReply,
    TagRequest,
};
use container_resource::digest::Digest;

use super::fault::Fault;
use crate::image::{self, Deleted, DiskUsage, Pruned};
use crate::store::{Store, Usage};

pub(super) fn tag(store: &Store, request: &TagRequest) -> Result<TagReply, Error> {
    let tagged = image::tag(store, &request.source, &request.target);
    Ok(TagReply {
        reference: tagged.map_err(Fault::fault)?,
    })
}

pub(super) fn delete(store: &Store, request: &DeleteRequest) -> Result<DeleteReply, Error> {
    let deleted = image::delete(store, &request.references, request.force);
    let Deleted {
        names,
        refused,
        bytes,
    } = deleted.map_err(Fault::fault)?;
    let errors = refused.into_iter().map(|error| error.fault().message());
    Ok(DeleteReply {
        deleted: names,
        reclaimed_bytes: bytes,
        errors: errors.collect(),
    })
}

pub(super) fn prune(store: &Store, all: bool) -> Result<PruneReply, Error> {
    let Pruned { names, collected } = image::prune(store, all).map_err(Fault::fault)?;
    Ok(PruneReply {
        untagged: names,
        deleted: collected.blobs.iter().map(Digest::to_string).collect(),
        reclaimed_bytes: collected.bytes,
    })
}

pub(super) fn disk_usage(
    store: &Store,
    request: &DiskUsageRequest,
) -> Result<DiskUsageReply, Error> {
    let DiskUsage {
        total,
        active,
        usage: Usage { images, views },
        names,
        shares,
    } = image::disk_usage(store, &request.active).map_err(Fault::fault)?;
    let each = names.into_iter().zip(shares.images);
    let each = each.map(|(reference, space)| ImageSpace {
        reference,
        size_bytes: space.total,
        shared_bytes: space.shared,
        apparent_bytes: space.apparent,
    });
    Ok(DiskUsageReply {
        images: each.collect(),
        shared_bytes: shares.shared,
        unnamed_bytes: shares.unnamed,
        total,
        active,
        size_bytes: images.total,
        reclaimable_bytes: images.reclaimable,
        views: views.files,
        active_views: views.needed_files,
        views_bytes: views.total,
        reclaimable_views_bytes: views.reclaimable,
    })
}
