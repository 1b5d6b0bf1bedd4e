//! Images with something odd about them.

use serde_json::{Value, json};

use crate::support::oci::{self, Layer, Layout};

/// An image's documents before they are stored.
pub struct Image {
    pub config: Value,
    pub config_type: String,
    pub manifest: Value,
    pub layers: Vec<Layer>,
}

impl Image {
    /// One for this machine, with nothing odd.
    pub fn new(layers: &[Layer]) -> Self {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        Self {
            config: json!({
                "architecture": oci::host(),
                "os": "linux",
                "config": { "Cmd": ["sh"] },
                "rootfs": { "type": "layers", "diff_ids": diff_ids },
            }),
            config_type: "application/vnd.oci.image.config.v1+json".into(),
            manifest: json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
            }),
            layers: layers.to_vec(),
        }
    }

    /// One of one small layer, changed by `change`.
    pub fn odd(change: impl FnOnce(&mut Self)) -> Self {
        let mut image = Self::new(&[oci::tool("tool")]);
        change(&mut image);
        image
    }

    /// Stores its parts; gives the manifest's descriptor.
    pub fn store(&self, layout: &mut Layout) -> Value {
        let mut manifest = self.manifest.clone();
        let config = layout.document(&self.config_type, &self.config);
        let parts = manifest.as_object_mut().unwrap();
        parts.entry("config").or_insert(config);
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|layer| layout.blob(layer.media_type, layer.blob.clone()))
            .collect();
        parts.entry("layers").or_insert(json!(layers));
        layout.document("application/vnd.oci.image.manifest.v1+json", &manifest)
    }

    /// An archive of it alone.
    pub fn archive(&self, name: &str) -> Vec<u8> {
        let mut layout = Layout::default();
        let manifest = self.store(&mut layout);
        layout.name(manifest, name);
        layout.archive()
    }
}

/// Stores an index over these descriptors; gives its own.
pub fn index(layout: &mut Layout, manifests: &[Value]) -> Value {
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": manifests });
    layout.document(kind, &index)
}

/// A descriptor with a platform.
pub fn of_platform(mut descriptor: Value, os: &str, architecture: &str) -> Value {
    descriptor["platform"] = json!({ "os": os, "architecture": architecture });
    descriptor
}
