//! The one error of everything that needs an image for a platform.

use container_resource::platform::Platform;

/// The image is not there for the platform.
#[derive(Debug, thiserror::Error)]
#[error("image {name} has no content for platform {platform}, available platforms: {available}")]
pub struct NoContent {
    /// Of the image.
    pub name: String,
    /// As asked for.
    pub platform: Platform,
    /// Platforms that the image is there for, with commas between them.
    pub available: String,
}
