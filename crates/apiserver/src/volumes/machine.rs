//! The machine by which a volume's files are reached while no container has it: an empty root, and the volume.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use container_api::{Error, Kind};
use container_resource::bundle::{self, Boot, Bundle, Extent, RootDisk};
use container_resource::container::{ContainerConfiguration, CreateOptions, Resources};
use container_resource::creation::DEFAULT_RUNTIME;
use container_resource::stamp::Stamp;
use container_resource::volume;
use erofs::{LayerWriter, Limits, Metadata, Tree};

use crate::containers::{Containers, Transient, kind};

/// Bytes of memory of the machine: a page cache, and the archive's buffers.
const MEMORY: u64 = 256 << 20;
/// Where it has the volume, beside the place where operations find it.
const TARGET: &str = "/volume";

impl Containers {
    /// A machine for the volume `name`, whose disk is `disk`, or is to be put at [`copy_of`]; `read_only`: together with others that
    /// only read.
    pub(super) async fn volume_machine(
        &self,
        name: &str,
        disk: Option<&Path>,
        read_only: bool,
    ) -> Result<Transient, Error> {
        let guest = self.guest_files(None).await?;
        self.make_transient(CreateOptions::default(), |bundle| {
            let root = bundle.directory().join("root.erofs");
            let image = empty_root().map_err(|error| Error::caused(Kind::Internal, error))?;
            bundle::write_file(&root, &image)
                .map_err(|error| Error::caused(kind(&error), error).context("make a root"))?;
            let size = image.len() as u64;
            let found = std::fs::symlink_metadata(&root)
                .map_err(|error| Error::caused(Kind::Internal, error))?;
            let options = if read_only {
                vec!["ro".to_owned()]
            } else {
                Vec::new()
            };
            let mut mount = volume::mount(name, TARGET, options)
                .map_err(|error| Error::caused(Kind::InvalidArgument, error))?;
            let copy = copy_of(bundle);
            mount.source = disk.unwrap_or(&copy).display().to_string();
            let configuration = ContainerConfiguration {
                mounts: vec![mount],
                resources: Resources {
                    cpus: 1,
                    nano_cpus: None,
                    memory_in_bytes: MEMORY,
                    storage: None,
                    journal: None,
                    cpu_overhead: 0,
                },
                runtime_handler: DEFAULT_RUNTIME.to_owned(),
                ..ContainerConfiguration::default()
            };
            let boot = Boot {
                kernel: guest.kernel,
                initramfs: guest.initramfs,
                has_modules: guest.has_modules,
                root: RootDisk {
                    extents: vec![Extent {
                        path: root,
                        offset: 0,
                        length: size,
                        stamp: Stamp::of(&found),
                    }],
                    size,
                },
                init: None,
                cache: self.roots.cache(),
                requested_us: 0,
                restarts: 0,
                vmm_confinement: self.vmm_confinement,
                idle: true,
                fills: false,
                interfaces: Vec::new(),
                published_ports: Vec::new(),
                ssh_agent: None,
                volumes: Vec::new(),
            };
            Ok((configuration, boot))
        })
    }
}

/// Where a machine's own copy of a volume is.
pub(super) fn copy_of(bundle: &Bundle) -> PathBuf {
    bundle.directory().join("volume.img")
}

/// An image with nothing but the directories at which file systems are mounted.
fn empty_root() -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut tree = Tree::new(Limits::default());
    for name in ["dev", "proc", "sys"] {
        tree.insert_directory(name.as_bytes(), Metadata::of_implicit_directory())?;
    }
    let writer = LayerWriter::new(Cursor::new(Vec::new()))?;
    Ok(writer.finish(&tree, [0; 16])?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_an_image() {
        let image = empty_root().unwrap();
        // The magic number of EROFS, at its place in the superblock (Documentation/filesystems/erofs.rst).
        assert_eq!(image[1024..1028], 0xe0f5_e1e2_u32.to_le_bytes());
        assert!(image.len() < 64 << 10 && image.len().is_multiple_of(4096));
    }
}
