//! Platforms: `os/architecture[/variant]`.

use serde::{Deserialize, Serialize};

/// What an image was built for (OCI image specification, image-index.md).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Operating system, as `GOOS`.
    pub os: String,
    /// CPU, as `GOARCH`.
    pub architecture: String,
    /// CPU variant, such as `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}
