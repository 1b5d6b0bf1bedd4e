//! Questions about images.

use container_api::images::{GetReply, GetRequest, ListReply};
use container_api::{Error, Kind};
use container_resource::platform::{ANY, Platform};

use super::fault::Fault;
use crate::image::{self, Graph, NoContent};
use crate::store::Store;

pub(super) fn list(store: &Store) -> Result<ListReply, Error> {
    let images = image::list(store).map_err(Fault::fault)?;
    Ok(ListReply {
        images: json(&images)?,
    })
}

pub(super) fn get(store: &Store, request: &GetRequest) -> Result<GetReply, Error> {
    let found = image::find(store, &request.reference).map_err(Fault::fault)?;
    let is_any = request.platform == ANY;
    let platform = platform(if is_any { "" } else { &request.platform })?;
    let graph = Graph::walk(&mut &*store, &found.descriptor);
    let other = || graph.variants.first().filter(|_| is_any);
    let Some(variant) = graph.variant(&platform).or_else(other) else {
        return Err(no_variant(&found.name, &platform, graph));
    };
    Ok(GetReply {
        image: json(&image::resource(&found.name, &found.descriptor, &graph))?,
        descriptor: json(&found.descriptor)?,
        reference: found.name,
        manifest_digest: variant.digest.to_string(),
        config: variant.config_bytes.clone().into(),
    })
}

/// The platform that a request means: the host's when it says nothing.
pub(super) fn platform(text: &str) -> Result<Platform, Error> {
    if text.is_empty() {
        return Ok(Platform::host());
    }
    text.parse()
        .map_err(|error| Error::caused(Kind::InvalidArgument, error))
}

/// Why there is no image for `platform`.
pub(super) fn no_variant(name: &str, platform: &Platform, graph: Graph) -> Error {
    let available = graph.platforms();
    let is_empty = graph.variants.is_empty();
    if let Some(damage) = graph.damage.into_iter().next().filter(|_| is_empty) {
        return Error::caused(Kind::InvalidState, damage)
            .context(format_args!("image {name} is damaged"))
            .with_hint("Pull or load it again.");
    }
    if let Some(kind) = graph.artifacts.first().filter(|_| is_empty) {
        let text = format!(
            "{name} is not an image that can run: its configuration is of the type {kind:?}"
        );
        return Error::new(Kind::Unsupported, text);
    }
    let error = NoContent {
        name: name.to_owned(),
        platform: platform.clone(),
        available,
    };
    Error::caused(Kind::Unsupported, error)
}

fn json<T: From<Vec<u8>>>(value: &impl serde::Serialize) -> Result<T, Error> {
    serde_json::to_vec(value)
        .map(T::from)
        .map_err(|error| Error::caused(Kind::Internal, error))
}
