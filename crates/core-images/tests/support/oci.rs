//! OCI image archives.

use std::io::Write;

use container_resource::digest::Digest;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::tarball;

pub fn digest(bytes: &[u8]) -> String {
    Digest::new(Sha256::digest(bytes).into()).to_string()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// A layer: what is stored and what it is uncompressed.
#[derive(Clone)]
pub struct Layer {
    pub blob: Vec<u8>,
    pub diff_id: String,
    pub media_type: &'static str,
}

impl Layer {
    pub fn gzip(tar: &[u8]) -> Self {
        Self {
            blob: gzip(tar),
            diff_id: digest(tar),
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip",
        }
    }

    pub fn zstd(tar: &[u8]) -> Self {
        Self {
            blob: zstd(tar),
            diff_id: digest(tar),
            media_type: "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    pub fn plain(tar: &[u8]) -> Self {
        Self {
            blob: tar.to_vec(),
            diff_id: digest(tar),
            media_type: "application/vnd.oci.image.layer.v1.tar",
        }
    }
}

/// Blobs and an index over them.
#[derive(Clone, Default)]
pub struct Layout {
    pub blobs: Vec<(String, Vec<u8>)>,
    pub manifests: Vec<Value>,
}

impl Layout {
    pub fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = digest(&bytes);
        let size = bytes.len();
        self.blobs.push((digest.clone(), bytes));
        json!({ "mediaType": media_type, "digest": digest, "size": size })
    }

    pub fn document(&mut self, media_type: &str, value: &Value) -> Value {
        self.blob(media_type, serde_json::to_vec(value).unwrap())
    }

    /// Adds an image and gives the manifest's descriptor, not yet in the index.
    pub fn manifest(&mut self, architecture: &str, layers: &[Layer]) -> Value {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let config = json!({
            "created": "2026-01-02T03:04:05.678Z",
            "architecture": architecture,
            "os": "linux",
            "config": { "Cmd": ["sh"], "Env": ["PATH=/bin"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = self.document("application/vnd.oci.image.config.v1+json", &config);
        let layers: Vec<Value> = layers
            .iter()
            .map(|layer| self.blob(layer.media_type, layer.blob.clone()))
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": layers,
        });
        self.document("application/vnd.oci.image.manifest.v1+json", &manifest)
    }

    /// Names an image in the index.
    pub fn name(&mut self, mut descriptor: Value, name: &str) {
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        self.manifests.push(descriptor);
    }

    pub fn index(&self) -> Vec<u8> {
        serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": self.manifests })).unwrap()
    }

    /// The members of an archive, in the order in which `skopeo` writes them.
    pub fn members(&self) -> Vec<Vec<u8>> {
        let mut members = vec![
            tarball::directory("blobs/"),
            tarball::directory("blobs/sha256/"),
        ];
        for (digest, bytes) in &self.blobs {
            let path = format!("blobs/{}", digest.replace(':', "/"));
            members.push(tarball::file(&path, bytes));
        }
        members.push(tarball::file("index.json", self.index()));
        members.push(tarball::file(
            "oci-layout",
            br#"{"imageLayoutVersion":"1.0.0"}"#,
        ));
        members
    }

    pub fn archive(&self) -> Vec<u8> {
        tarball::archive(&self.members())
    }
}

/// A layer of one small file with this content.
pub fn tool(content: &str) -> Layer {
    Layer::gzip(&tarball::archive(&[tarball::file("bin/tool", content)]))
}

/// The architecture of this machine, as images name it.
pub fn host() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An archive of one image for this machine.
pub fn archive(name: &str, layers: &[Layer]) -> Vec<u8> {
    let mut layout = Layout::default();
    let manifest = layout.manifest(host(), layers);
    layout.name(manifest, name);
    layout.archive()
}
