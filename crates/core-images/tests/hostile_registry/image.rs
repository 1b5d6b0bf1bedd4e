//! An honest image in memory, and what an honest registry answers of it.

use super::support::hostile::{Answer, Request, answer};
use super::support::oci::{self, Layer, Layout};
use super::support::tarball;

/// An image in memory, to be served.
#[derive(Clone)]
pub struct Image {
    pub layout: Layout,
    pub manifest: String,
    pub layer: String,
}

impl Image {
    pub fn new() -> Self {
        let layer = Layer::gzip(&tarball::archive(&[tarball::file(
            "noise",
            tarball::noise(300_000),
        )]));
        let mut layout = Layout::default();
        let layer_digest = oci::digest(&layer.blob);
        let manifest = layout.manifest(oci::host(), &[layer]);
        let manifest = manifest["digest"].as_str().unwrap().to_owned();
        Self {
            layout,
            manifest,
            layer: layer_digest,
        }
    }

    pub fn blob(&self, digest: &str) -> Option<&[u8]> {
        let found = self.layout.blobs.iter().find(|(known, _)| known == digest);
        found.map(|(_, bytes)| bytes.as_slice())
    }

    pub fn layer_bytes(&self) -> &[u8] {
        self.blob(&self.layer).unwrap()
    }

    /// What an honest registry answers.
    pub fn honest(&self, request: &Request) -> Answer {
        let last = request.path.rsplit('/').next().unwrap_or_default();
        let digest = if last == "latest" {
            &self.manifest
        } else {
            last
        };
        let Some(bytes) = self.blob(digest) else {
            return answer("404 Not Found", "", b"").into();
        };
        if request.path.contains("/manifests/") {
            return answer("200 OK", "", bytes).into();
        }
        match request.range_start() {
            None => answer("200 OK", "", bytes).into(),
            Some(start) => {
                let range = format!(
                    "content-range: bytes {start}-{}/{}\r\n",
                    bytes.len() - 1,
                    bytes.len()
                );
                answer("206 Partial Content", &range, &bytes[start..]).into()
            }
        }
    }
}
