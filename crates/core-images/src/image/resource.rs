//! Images as the command line shows them.

use container_resource::image::{Descriptor, ImageConfiguration, ImageResource, ImageVariant};
use jiff::Timestamp;

use super::graph::{Graph, Variant};
use crate::store::{Store, StoreError};

/// All images, sorted by name. A damaged one has fewer variants, or none.
pub fn list(store: &Store) -> Result<Vec<ImageResource>, StoreError> {
    let names = store.names()?;
    let images = names.iter().map(|(name, descriptor)| {
        let graph = Graph::walk(&mut &*store, descriptor);
        resource(name, descriptor, &graph)
    });
    Ok(images.collect())
}

/// One image.
pub fn resource(name: &str, descriptor: &Descriptor, graph: &Graph) -> ImageResource {
    let created = graph.variants.iter().find_map(|variant| {
        let moment: Timestamp = variant.config.created.as_deref()?.parse().ok()?;
        Timestamp::from_second(moment.as_second()).ok()
    });
    ImageResource {
        id: descriptor.digest.trim_start_matches("sha256:").to_owned(),
        configuration: ImageConfiguration {
            creation_date: created.unwrap_or(Timestamp::UNIX_EPOCH),
            name: name.to_owned(),
            descriptor: descriptor.clone(),
        },
        variants: graph.variants.iter().map(variant).collect(),
    }
}

fn variant(variant: &Variant) -> ImageVariant {
    let parts = variant
        .manifest
        .layers
        .iter()
        .chain([&variant.manifest.config]);
    let size = parts.fold(variant.descriptor.size, |sum, part| {
        sum.saturating_add(part.size)
    });
    ImageVariant {
        platform: variant.platform.clone(),
        digest: variant.digest.to_string(),
        size,
        // It was parsed once already.
        config: serde_json::from_slice(&variant.config_bytes).unwrap_or_default(),
    }
}
