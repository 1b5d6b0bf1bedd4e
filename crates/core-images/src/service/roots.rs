//! Roots for containers.

use std::sync::Arc;

use container_api::images::{Extent, PrepareRootsReply, PrepareRootsRequest, Root};
use container_api::{Error, Kind};
use container_resource::digest::{Digest, DigestError};
use container_resource::name;

use super::fault::Fault;
use crate::layer::unpack::Unpacker;
use crate::root;
use crate::store::{GRACE, Store, StoreError};

pub(super) async fn prepare(
    store: &Arc<Store>,
    unpacker: &Unpacker,
    request: &PrepareRootsRequest,
) -> Result<PrepareRootsReply, Error> {
    let manifests: Vec<Digest> = request
        .manifest_digests
        .iter()
        .map(|digest| digest.parse())
        .collect::<Result<_, _>>()
        .map_err(|error: DigestError| Error::caused(Kind::InvalidArgument, error))?;
    name::validate(&request.lease)
        .map_err(|error| Error::caused(Kind::InvalidArgument, error).context("invalid lease"))?;
    let mut pin = store.pin();
    let mut roots = Vec::with_capacity(manifests.len());
    for manifest in &manifests {
        let extents = root::prepare(store, unpacker, *manifest, &mut pin).await;
        roots.push(disk(extents.map_err(Fault::fault)?)?);
    }
    let (leased, id) = (Arc::clone(store), request.lease.clone());
    let awaited = tokio::task::spawn_blocking(move || {
        let guard = leased.lock();
        leased.leases().take(&guard, &id, &manifests)
    })
    .await
    .map_err(|_| Error::new(Kind::Cancelled, "the work was given up"))?
    .map_err(StoreError::fault)?;
    if awaited {
        look_later(Arc::clone(store));
    }
    // Only now may the pin go: the lease holds everything.
    drop(pin);
    Ok(PrepareRootsReply { roots })
}

/// Drops the lease when its container did not come.
fn look_later(store: Arc<Store>) {
    tokio::spawn(async move {
        tokio::time::sleep(GRACE).await;
        // Ends early only with this process, whose next start looks by itself.
        let _ = tokio::task::spawn_blocking(move || {
            let guard = store.lock();
            store.leases().drop_departed(&guard);
        })
        .await;
    });
}

fn disk(extents: Vec<root::Extent>) -> Result<Root, Error> {
    let size = extents.iter().map(|extent| extent.length).sum();
    let extents = extents.into_iter().map(|extent| {
        let path = extent.path.into_os_string().into_string();
        let path = path.map_err(|_| Error::new(Kind::Unsupported, "the app root is no UTF-8"))?;
        Ok(Extent {
            path,
            offset: 0,
            length: extent.length,
            stamp: extent.stamp.to_string(),
        })
    });
    Ok(Root {
        extents: extents.collect::<Result<_, Error>>()?,
        size,
    })
}
