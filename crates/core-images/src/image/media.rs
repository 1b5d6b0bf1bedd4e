//! Media types (image-spec `media-types.md`; Docker image manifest version 2, schema 2).

use container_resource::image::Descriptor;

use container_compression::Compression;

/// An index over manifests.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's name for the same.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// A manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Docker's name for the same.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// An image's configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Docker's name for the same.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// A layer, compressed with Zstandard.
const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// A layer, not compressed.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// A layer, compressed with gzip.
const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The type of a layer that is compressed so. There is none for xz and bzip2.
pub fn layer_type(compression: Compression) -> &'static str {
    match compression {
        Compression::Gzip => LAYER_GZIP,
        Compression::Zstd => LAYER_ZSTD,
        _ => LAYER,
    }
}

/// `layer` as an OCI manifest names it.
pub fn as_oci(mut layer: Descriptor) -> Descriptor {
    let docker = "application/vnd.docker.image.rootfs.diff.tar";
    if let Some(compression) = layer.media_type.strip_prefix(docker) {
        let name = match compression {
            ".gzip" => LAYER_GZIP,
            ".zstd" => LAYER_ZSTD,
            _ => LAYER,
        };
        name.clone_into(&mut layer.media_type);
    }
    layer
}

/// Whether a configuration of that type says that its manifest is an image that can run. Others may be one all
/// the same: old programs wrote `application/octet-stream`, `text/html` and nothing at all.
pub fn is_config(media_type: &str) -> bool {
    matches!(media_type, CONFIG | DOCKER_CONFIG)
}

/// Whether a layer of that type is a tar archive, however compressed.
pub fn is_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.v1.tar")
        || media_type.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar")
        || media_type.starts_with("application/vnd.docker.image.rootfs.diff.tar")
        || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.diff.tar")
}
