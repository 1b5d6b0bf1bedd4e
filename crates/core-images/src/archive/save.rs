//! `image save`.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use container_resource::digest::Digest;
use container_resource::image::Descriptor;
use container_resource::platform::Platform;
use serde::Serialize;

use super::docker::DockerImage;
use crate::image::{Found, Graph, NoContent, Variant, annotations, media};
use crate::store::{LAYOUT, Store, StoreError, UNTAGGED};
use container_archive::tar::Writer;

/// What kind of archive is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An OCI image layout.
    Oci,
    /// The same, of one platform, with the `manifest.json` that older tools read.
    Docker,
}

/// Why an archive cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The image is not there for the platform.
    #[error(transparent)]
    NoPlatform(#[from] NoContent),
    /// A part of the image is missing.
    #[error("image {name} is damaged")]
    Damaged {
        /// Of the image.
        name: String,
        /// How.
        source: crate::image::GraphError,
    },
    /// The output failed.
    #[error("the archive cannot be written")]
    Write(#[from] io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

/// The parts of the archive, gathered before the first byte is written.
#[derive(Default)]
struct Selection {
    blobs: BTreeMap<Digest, u64>,
    manifests: Vec<Descriptor>,
    docker: Vec<DockerImage>,
}

/// Writes one archive of all `images`. Without a platform everything that is there is written; a Docker
/// archive takes the host's platform then.
pub fn save(
    store: &Store,
    images: &[Found],
    platform: Option<&Platform>,
    format: Format,
    out: impl Write,
) -> Result<(), SaveError> {
    let host = Platform::host();
    let platform = platform.or((format == Format::Docker).then_some(&host));
    let mut pin = store.pin();
    let mut selection = Selection::default();
    for image in images {
        selection.add(store, image, platform)?;
    }
    for digest in selection.blobs.keys() {
        pin.hold(*digest);
    }
    selection.write(store, format, out)
}

impl Selection {
    fn add(
        &mut self,
        store: &Store,
        image: &Found,
        platform: Option<&Platform>,
    ) -> Result<(), SaveError> {
        let name = &image.name;
        let mut graph = Graph::walk(&mut &*store, &image.descriptor);
        let wanted = platform.and_then(|platform| graph.variant(platform));
        // Of one platform, the others' damage is no matter.
        let is_sound = wanted.is_some_and(|variant| variant.is_whole);
        if let Some(source) = graph.damage.pop().filter(|_| !is_sound) {
            return Err(SaveError::Damaged {
                name: name.clone(),
                source,
            });
        }
        let Some(platform) = platform else {
            for digest in &graph.blobs {
                let path = store.paths().blob(*digest);
                let size = path.metadata().map_err(StoreError::file(&path))?.len();
                self.blobs.insert(*digest, size);
            }
            self.manifests.push(named(&image.descriptor, name));
            return Ok(());
        };
        let Some(variant) = graph.variant(platform) else {
            return Err(NoContent {
                name: name.clone(),
                platform: platform.clone(),
                available: graph.platforms(),
            }
            .into());
        };
        self.blobs.insert(variant.digest, variant.descriptor.size);
        for part in variant
            .manifest
            .layers
            .iter()
            .chain([&variant.manifest.config])
        {
            // Parsed when the graph was walked.
            self.blobs.extend(
                part.digest
                    .parse()
                    .ok()
                    .map(|digest: Digest| (digest, part.size)),
            );
        }
        self.manifests.push(named(&variant.descriptor, name));
        self.docker.push(docker_image(name, variant));
        Ok(())
    }

    fn write(&self, store: &Store, format: Format, out: impl Write) -> Result<(), SaveError> {
        let mut archive = Writer::new(io::BufWriter::with_capacity(1 << 20, out));
        archive.file("oci-layout", LAYOUT)?;
        archive.directory("blobs/")?;
        archive.directory("blobs/sha256/")?;
        for (digest, size) in &self.blobs {
            archive.start_file(&blob_path(*digest), *size)?;
            io::copy(&mut store.open_blob(*digest)?.take(*size), &mut archive)?;
        }
        let index = Index {
            schema_version: 2,
            media_type: media::INDEX,
            manifests: self.manifests.clone(),
        };
        archive.file(
            "index.json",
            &serde_json::to_vec(&index).map_err(io::Error::other)?,
        )?;
        if format == Format::Docker {
            let manifest = serde_json::to_vec(&self.docker).map_err(io::Error::other)?;
            archive.file("manifest.json", &manifest)?;
        }
        archive
            .finish()?
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        Ok(())
    }
}

fn blob_path(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn named(descriptor: &Descriptor, name: &str) -> Descriptor {
    let mut descriptor = descriptor.clone();
    annotations::clear_origin(&mut descriptor);
    if name.starts_with(UNTAGGED) {
        annotations::clear_names(&mut descriptor);
    } else {
        annotations::set_name(&mut descriptor, name);
    }
    descriptor
}

fn docker_image(name: &str, variant: &Variant) -> DockerImage {
    let path = |digest: &str| format!("blobs/{}", digest.replace(':', "/"));
    let is_tag = !name.contains('@');
    DockerImage {
        config: path(&variant.manifest.config.digest),
        repo_tags: is_tag.then(|| vec![name.to_owned()]),
        layers: Some(
            variant
                .manifest
                .layers
                .iter()
                .map(|layer| path(&layer.digest))
                .collect(),
        ),
    }
}
