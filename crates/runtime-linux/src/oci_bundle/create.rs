//! From an OCI bundle to a bundle of ours.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use container_isolation::mountinfo;
use container_resource::bundle::{self, Boot, Bundle, Extent, RootDisk};
use container_resource::container::CreateOptions;
use container_resource::settings::VmmConfinement;
use container_resource::stamp::Stamp;
use jiff::Timestamp;

use super::{ConfigError, OciBundle, OciBundleError, root};

/// What a host starts machines with.
#[derive(Clone, Debug)]
pub struct Host {
    /// Guest kernel.
    pub kernel: PathBuf,
    /// Initramfs with vminitd.
    pub initramfs: PathBuf,
    /// Whether that holds modules of the kernel.
    pub has_modules: bool,
    /// Where shared, remakeable files are kept: empty uppers, templates, the accelerator's probe.
    pub cache: PathBuf,
}

impl OciBundle {
    /// Fills `bundle`, an empty directory, with the container `id`: it can be started from there, and is removed with it. The root
    /// file system is copied into an image, so what the container writes changes nothing of it.
    ///
    /// # Errors
    /// When the root file system cannot be read, or the directory not be written.
    pub fn create(&self, id: &str, bundle: &Bundle, host: &Host) -> Result<(), OciBundleError> {
        for share in self.config.shares().iter().filter(|share| share.alone) {
            check_alone(&share.mount.source)?;
        }
        let image = bundle.directory().join("root.erofs");
        let written = |path: &Path| {
            let path = path.to_owned();
            move |source| OciBundleError::Write { path, source }
        };
        let file = File::create_new(&image).map_err(written(&image))?;
        let size = root::write(&self.root, file).map_err(|source| OciBundleError::Root {
            path: self.root.clone(),
            source,
        })?;
        let stamp = fs::symlink_metadata(&image).map_err(written(&image))?;
        let boot = Boot {
            kernel: host.kernel.clone(),
            initramfs: host.initramfs.clone(),
            has_modules: host.has_modules,
            root: RootDisk {
                extents: vec![Extent {
                    path: image,
                    offset: 0,
                    length: size,
                    stamp: Stamp::of(&stamp),
                }],
                size,
            },
            init: None,
            cache: host.cache.clone(),
            requested_us: Timestamp::now().as_microsecond(),
            restarts: 0,
            vmm_confinement: VmmConfinement::default(),
            idle: false,
            fills: false,
            interfaces: Vec::new(),
            published_ports: Vec::new(),
            ssh_agent: None,
            volumes: Vec::new(),
        };
        let options = CreateOptions {
            auto_remove: true,
            ..CreateOptions::default()
        };
        let path = bundle.runtime_spec();
        bundle::write_json(&path, self.config.spec()).map_err(written(&path))?;
        let path = bundle.options();
        bundle::write_json(&path, &options).map_err(written(&path))?;
        let path = bundle.boot();
        bundle::write_json(&path, &boot).map_err(written(&path))?;
        let path = bundle.configuration();
        bundle::write_json(&path, &self.config.configuration(id)).map_err(written(&path))
    }
}

/// A share shows what is mounted below its source, too: where that is not wanted, nothing may be.
fn check_alone(source: &str) -> Result<(), OciBundleError> {
    let read = |path: &Path| {
        let path = path.to_owned();
        move |source| OciBundleError::Read { path, source }
    };
    let mounts = mountinfo::read().map_err(read(Path::new("/proc/self/mountinfo")))?;
    let source = Path::new(source);
    let real = source.canonicalize().map_err(read(source))?;
    let below = mounts
        .iter()
        .any(|mounted| mounted.place != real && mounted.place.starts_with(&real));
    if below {
        return Err(ConfigError::unsupported(
            format!("mounts: {}", source.display()),
            "something is mounted below it, which `bind` leaves out; `rbind` takes it along",
        )
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_below_is_found() {
        let scratch = tempfile::tempdir().unwrap();
        check_alone(scratch.path().to_str().unwrap()).unwrap();
        // /proc, at least, is mounted below the root.
        let error = check_alone("/").unwrap_err().to_string();
        assert!(error.contains("`rbind`"), "{error}");
    }
}
