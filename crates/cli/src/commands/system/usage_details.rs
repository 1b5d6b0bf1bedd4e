//! `system df --verbose`: each image, container and volume.

use container_api::images::DiskUsageReply;
use container_resource::container::ManagedContainer;
use container_resource::size;
use container_resource::volume::VolumeUsage;
use serde::Serialize;

use super::disk_usage::{allocated, apparent};
use crate::connection::Context;
use crate::output::Table;
use crate::select;

/// What each thing takes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    images: Vec<Row>,
    /// Bytes that several images have, once.
    shared_by_images_in_bytes: u64,
    /// Bytes that no name leads to: containers have them.
    unnamed_in_bytes: u64,
    containers: Vec<Row>,
    volumes: Vec<Row>,
}

/// One image, container or volume.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    /// Bytes that it takes on the disk.
    size_in_bytes: u64,
    /// Of an image: bytes of those that other images have, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_size_in_bytes: Option<u64>,
    /// Of an image: bytes that nothing else has.
    #[serde(skip_serializing_if = "Option::is_none")]
    unique_size_in_bytes: Option<u64>,
    /// Bytes that it seems to have.
    apparent_size_in_bytes: u64,
    /// It runs, or a container has it.
    active: bool,
}

impl Details {
    /// Looks at everything.
    pub fn new(
        context: &Context,
        containers: &[ManagedContainer],
        volumes: &[VolumeUsage],
        usage: &DiskUsageReply,
        active: &[String],
    ) -> Self {
        let images = usage.images.iter().map(|image| Row {
            id: image.reference.clone(),
            size_in_bytes: image.size_bytes,
            shared_size_in_bytes: Some(image.shared_bytes),
            unique_size_in_bytes: Some(image.size_bytes.saturating_sub(image.shared_bytes)),
            apparent_size_in_bytes: image.apparent_bytes,
            active: active.contains(&image.reference),
        });
        let bundles = context.roots.containers();
        Self {
            images: images.collect(),
            shared_by_images_in_bytes: usage.shared_bytes,
            unnamed_in_bytes: usage.unnamed_bytes,
            containers: containers
                .iter()
                .map(|container| Row {
                    id: container.id.clone(),
                    size_in_bytes: allocated(&bundles.join(&container.id)),
                    shared_size_in_bytes: None,
                    unique_size_in_bytes: None,
                    apparent_size_in_bytes: apparent(&bundles.join(&container.id)),
                    active: select::is_live(container),
                })
                .collect(),
            volumes: volumes
                .iter()
                .map(|listed| Row {
                    id: listed.volume.id.clone(),
                    size_in_bytes: listed.allocated_in_bytes,
                    shared_size_in_bytes: None,
                    unique_size_in_bytes: None,
                    apparent_size_in_bytes: listed.volume.configuration.size(),
                    active: listed.used,
                })
                .collect(),
        }
    }

    /// What images have of their own, what they have in common, and what has no name are the images' line of `system df` together.
    fn image_table(&self) -> String {
        let header = [
            "IMAGE",
            "SIZE",
            "SHARED SIZE",
            "UNIQUE SIZE",
            "APPARENT SIZE",
            "ACTIVE",
        ];
        let mut table = Table::new(header);
        for row in &self.images {
            table.row([
                row.id.clone(),
                size::disk(row.size_in_bytes),
                size::disk(row.shared_size_in_bytes.unwrap_or(0)),
                size::disk(row.unique_size_in_bytes.unwrap_or(0)),
                size::disk(row.apparent_size_in_bytes),
                if row.active { "yes" } else { "no" }.to_owned(),
            ]);
        }
        let unique: u64 = self
            .images
            .iter()
            .filter_map(|row| row.unique_size_in_bytes)
            .sum();
        let total = unique + self.shared_by_images_in_bytes + self.unnamed_in_bytes;
        format!(
            "{}{} together: {} of one image each, {} shared, {} without a name\n",
            table.render(),
            size::disk(total),
            size::disk(unique),
            size::disk(self.shared_by_images_in_bytes),
            size::disk(self.unnamed_in_bytes)
        )
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
            self.image_table(),
            table("CONTAINER", &self.containers),
            table("VOLUME", &self.volumes),
        ]
        .join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_images_and_their_sum_agree() {
        let row = |id: &str, size, shared| Row {
            id: id.to_owned(),
            size_in_bytes: size,
            shared_size_in_bytes: Some(shared),
            unique_size_in_bytes: Some(size - shared),
            apparent_size_in_bytes: 3 * size,
            active: true,
        };
        let details = Details {
            images: vec![row("a", 5000, 2000), row("b", 2000, 2000)],
            shared_by_images_in_bytes: 2000,
            unnamed_in_bytes: 1000,
            containers: Vec::new(),
            volumes: Vec::new(),
        };
        assert_eq!(
            details.image_table(),
            "IMAGE  SIZE  SHARED SIZE  UNIQUE SIZE  APPARENT SIZE  ACTIVE\n\
             a      5 KB  2 KB         3 KB         15 KB          yes\n\
             b      2 KB  2 KB         Zero KB      6 KB           yes\n\
             6 KB together: 3 KB of one image each, 2 KB shared, 1 KB without a name\n"
        );
    }
}
