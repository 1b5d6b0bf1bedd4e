//! The files a guest boots from.

use std::path::PathBuf;

use container_api::roots::{ARCHITECTURE, Roots};
use container_api::{Error, Kind};

/// The default kernel, resolved.
///
/// # Errors
/// [`Kind::NotFound`] when none was installed.
pub fn kernel(roots: &Roots) -> Result<PathBuf, Error> {
    roots.default_kernel().canonicalize().map_err(|_| {
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
    let path = roots.initramfs();
    if path.exists() {
        return Ok(path);
    }
    Err(Error::new(
        Kind::NotFound,
        format!("the initramfs is missing: {}", path.display()),
    )
    .with_hint("Install container again: `make install`."))
}
