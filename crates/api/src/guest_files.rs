//! The files a guest boots from.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::chain::about;
use crate::roots::{self, ARCHITECTURE, Roots};
use crate::{Error, Kind};

/// What one guest boots from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestFiles {
    /// The kernel, resolved.
    pub kernel: PathBuf,
    /// The initramfs with vminitd, and with the kernel's modules where it has some.
    pub initramfs: PathBuf,
    /// Whether the kernel has modules: one that a distribution made for machines of all kinds.
    pub has_modules: bool,
}

impl GuestFiles {
    /// Those of the default kernel, or of `kernel`.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when no kernel was installed, or the installation is not complete; [`Kind::Internal`] when modules cannot be
    /// added to the initramfs.
    pub fn find(roots: &Roots, kernel: Option<&Path>) -> Result<Self, Error> {
        let kernel = match kernel {
            Some(path) => path.canonicalize().unwrap_or_else(|_| path.to_owned()),
            None => roots.default_kernel().canonicalize().map_err(|_| {
                Error::new(
                    Kind::NotFound,
                    format!("default kernel not configured for architecture {ARCHITECTURE}"),
                )
                .with_hint("Run `container system start --enable-kernel-install` to install the packaged kernel.")
            })?,
        };
        let initramfs = roots.initramfs();
        if !initramfs.exists() {
            let text = format!("the initramfs is missing: {}", initramfs.display());
            let error = Error::new(Kind::NotFound, text);
            return Err(error.with_hint("Install container again: `make install`."));
        }
        let modules = roots.modules(&kernel);
        // A kernel that is somewhere else brings none.
        let is_installed = || kernel.parent() == roots.kernels().canonicalize().ok().as_deref();
        if !modules.exists() || !is_installed() {
            return Ok(Self {
                kernel,
                initramfs,
                has_modules: false,
            });
        }
        let joined = joined(&roots.cache(), &initramfs, &modules).map_err(|error| {
            Error::caused(Kind::Internal, error)
                .context("add the kernel's modules to the initramfs")
        })?;
        Ok(Self {
            kernel,
            initramfs: joined,
            has_modules: true,
        })
    }
}

/// A file in `cache` with both archives, one behind the other, as the kernel takes them
/// (Documentation/driver-api/early-userspace/buffer-format.rst). Its name tells what it was made of.
fn joined(cache: &Path, initramfs: &Path, modules: &Path) -> io::Result<PathBuf> {
    let mut hash = Sha256::new();
    for part in [initramfs, modules] {
        let found = fs::metadata(part).map_err(|error| about(part.display(), error))?;
        for number in [found.dev(), found.ino(), found.len()] {
            hash.update(number.to_le_bytes());
        }
        for number in [found.mtime(), found.mtime_nsec()] {
            hash.update(number.to_le_bytes());
        }
    }
    let hash = hash.finalize();
    let number = u64::from_le_bytes([
        hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7],
    ]);
    let path = cache.join(format!("initramfs-{number:016x}.cpio"));
    if path.exists() {
        return Ok(path);
    }
    roots::restore_private(cache)?;
    // Several starts may make it at once.
    let temporary = cache.join(format!(".initramfs-{number:016x}-{}", uuid()));
    let made = write(&temporary, [initramfs, modules]).and_then(|()| fs::rename(&temporary, &path));
    if made.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    made.map(|()| path)
}

/// A word that nobody else has.
fn uuid() -> String {
    crate::request::RequestId::new().to_string()
}

fn write(path: &Path, parts: [&Path; 2]) -> io::Result<()> {
    let mut file = container_files::create(path)?;
    for part in parts {
        let copied = io::copy(&mut File::open(part)?, &mut file)?;
        // An archive begins at a multiple of four; zeros between two are skipped.
        let padding = vec![0; usize::try_from(copied.wrapping_neg() % 4).unwrap_or(0)];
        io::Write::write_all(&mut file, &padding)?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_of_an_installed_kernel_are_behind_the_initramfs() {
        let scratch = tempfile::tempdir().unwrap();
        let (app, prefix) = (scratch.path().join("app"), scratch.path().join("prefix"));
        let roots = Roots::new(app, prefix, None).unwrap();
        fs::create_dir_all(roots.kernels()).unwrap();
        fs::create_dir_all(roots.share()).unwrap();
        fs::write(roots.initramfs(), "first").unwrap();
        let kernel = roots.kernels().join("vmlinuz");
        fs::write(&kernel, "kernel").unwrap();
        std::os::unix::fs::symlink(&kernel, roots.default_kernel()).unwrap();
        let plain = GuestFiles::find(&roots, None).unwrap();
        assert!(!plain.has_modules);
        assert_eq!(plain.initramfs, roots.initramfs());

        fs::write(roots.modules(&kernel), "second").unwrap();
        let found = GuestFiles::find(&roots, None).unwrap();
        assert!(found.has_modules);
        assert_eq!(
            fs::read(&found.initramfs).unwrap(),
            b"first\0\0\0second\0\0"
        );
        assert_eq!(GuestFiles::find(&roots, Some(&kernel)).unwrap(), found);
        // Another initramfs, as after an upgrade, is another file.
        fs::write(roots.initramfs(), "later").unwrap();
        let after = GuestFiles::find(&roots, None).unwrap();
        assert!(fs::read(&after.initramfs).unwrap().starts_with(b"later"));
        // What lies beside a kernel elsewhere is nobody's modules.
        let other = scratch.path().join("other");
        fs::write(&other, "").unwrap();
        fs::write(roots.modules(&other), "").unwrap();
        assert!(!GuestFiles::find(&roots, Some(&other)).unwrap().has_modules);
    }
}
