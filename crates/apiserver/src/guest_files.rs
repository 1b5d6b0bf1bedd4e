//! The files a guest boots from.

use std::path::PathBuf;

use container_api::roots::Roots;
use container_api::{Error, Kind};

/// Architecture of this host's guests, as images name it.
pub const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "amd64"
};

/// The default kernel, resolved.
///
/// # Errors
/// [`Kind::NotFound`] when none was installed.
pub fn kernel(roots: &Roots) -> Result<PathBuf, Error> {
    let link = roots
        .kernels()
        .join(format!("default.kernel-{ARCHITECTURE}"));
    link.canonicalize().map_err(|_| {
        Error::new(
            Kind::NotFound,
            format!("default kernel not configured for architecture {ARCHITECTURE}"),
        )
        .with_hint(
            "Run `container system start --enable-kernel-install` to install the packaged kernel.",
        )
    })
}

/// The initramfs with vminitd.
///
/// # Errors
/// [`Kind::NotFound`] when the installation is not complete.
pub fn initramfs(roots: &Roots) -> Result<PathBuf, Error> {
    let path = roots.share().join(format!("initramfs-{ARCHITECTURE}.cpio"));
    if path.exists() {
        return Ok(path);
    }
    Err(Error::new(
        Kind::NotFound,
        format!("the initramfs is missing: {}", path.display()),
    )
    .with_hint("Install container again: `make install`."))
}
