//! `system df --verbose`: each image, container and volume.

use container_resource::container::ManagedContainer;
use container_resource::size;
use container_resource::volume::VolumeUsage;
use serde::Serialize;

use super::disk_usage::{allocated, apparent};
use crate::commands::image;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output::Table;
use crate::select;

/// What each thing takes.
#[derive(Debug, Serialize)]
pub struct Details {
    images: Vec<Row>,
    containers: Vec<Row>,
    volumes: Vec<Row>,
}

/// One image, container or volume.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    /// Bytes that it takes on the disk. For an image, the bytes of its blobs, which other images may share.
    size_in_bytes: u64,
    /// Bytes that it seems to have.
    apparent_size_in_bytes: u64,
    /// It runs, or a container has it.
    active: bool,
}

impl Details {
    /// Looks at everything.
    pub async fn new(
        context: &Context,
        containers: &[ManagedContainer],
        volumes: &[VolumeUsage],
    ) -> Result<Self, Failure> {
        let in_use = |name: &str| {
            let mut used = containers
                .iter()
                .flat_map(|container| container.configuration.images());
            used.any(|image| image.reference == name)
        };
        let images = image::all(context).await?.into_iter().map(|image| {
            let name = image.configuration.name;
            let bytes = image.variants.iter().map(|variant| variant.size).sum();
            Row {
                size_in_bytes: bytes,
                apparent_size_in_bytes: bytes,
                active: in_use(&name),
                id: name,
            }
        });
        let bundles = context.roots.containers();
        Ok(Self {
            images: images.collect(),
            containers: containers
                .iter()
                .map(|container| Row {
                    id: container.id.clone(),
                    size_in_bytes: allocated(&bundles.join(&container.id)),
                    apparent_size_in_bytes: apparent(&bundles.join(&container.id)),
                    active: select::is_live(container),
                })
                .collect(),
            volumes: volumes
                .iter()
                .map(|listed| Row {
                    id: listed.volume.id.clone(),
                    size_in_bytes: listed.allocated_in_bytes,
                    apparent_size_in_bytes: listed.volume.configuration.size(),
                    active: listed.used,
                })
                .collect(),
        })
    }

    /// A table for each kind, with an empty line between them.
    pub fn tables(&self) -> String {
        let table = |name: &str, rows: &[Row]| {
            let mut table = Table::new([name, "SIZE", "APPARENT SIZE", "ACTIVE"]);
            for row in rows {
                let active = if row.active { "yes" } else { "no" };
                table.row([
                    row.id.clone(),
                    size::disk(row.size_in_bytes),
                    size::disk(row.apparent_size_in_bytes),
                    active.to_owned(),
                ]);
            }
            table.render()
        };
        [
            table("IMAGE", &self.images),
            table("CONTAINER", &self.containers),
            table("VOLUME", &self.volumes),
        ]
        .join("\n")
    }
}
