//! The modules of a distribution's kernel that a guest needs: for a machine's devices and disks, and their dependencies.

mod archive;
mod information;
mod tree;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use tree::Tree;

/// Without these no container starts.
const REQUIRED: [&str; 6] = [
    "virtio_mmio",
    "virtio_blk",
    "virtio_console",
    "ext4",
    "erofs",
    "overlay",
];
/// What else a machine may have, and kernels may lack: networks, volumes beyond the first, memory that is given back, entropy, bind
/// mounts, `/dev/net/tun`, loop devices.
const USEFUL: [&str; 9] = [
    "virtio_net",
    "virtio_scsi",
    "sd_mod",
    "virtio_balloon",
    "virtio_rng",
    "virtiofs",
    "af_packet",
    "tun",
    "loop",
];

/// Why there is no archive of modules.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// The directory, or a file in it.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There are no modules.
    #[error("{} holds no kernel modules; lib/modules/<version> of a kernel does", .0.display())]
    Empty(PathBuf),
    /// The kernel has it neither built in nor as a module.
    #[error("this kernel has no {0}, without which no container starts")]
    Lacks(&'static str),
    /// Somebody asked for it.
    #[error("this kernel has no module {0}")]
    NoModule(String),
    /// It is no ELF file with the parts of a module.
    #[error("{} is no kernel module", .0.display())]
    NoModuleFile(PathBuf),
    /// Modules depend on each other in a circle, or on too many.
    #[error("the dependencies of module {0} have no end")]
    Endless(String),
    /// The archive.
    #[error("cannot write the archive of modules")]
    Write(#[source] std::io::Error),
}

/// Writes the archive for the kernel whose modules are below `directory` to `target`, with the `further` ones that the user asks for; gives
/// the names in it, in the order in which they are to be loaded.
pub fn pack(
    directory: &Path,
    further: &[String],
    target: &mut impl Write,
) -> Result<Vec<String>, ModulesError> {
    let tree = Tree::read(directory)?;
    let mut ordered = Vec::new();
    let mut seen = BTreeSet::new();
    for name in REQUIRED {
        if !tree.add(name, &mut seen, &mut ordered)? {
            return Err(ModulesError::Lacks(name));
        }
    }
    for name in USEFUL {
        // Who needs it is told by the machine that lacks it.
        let _ = tree.add(name, &mut seen, &mut ordered)?;
    }
    for name in further {
        if !tree.add(&tree::plain(name), &mut seen, &mut ordered)? {
            return Err(ModulesError::NoModule(name.clone()));
        }
    }
    let names = ordered.iter().map(|module| module.name.clone()).collect();
    archive::write(&ordered, target).map_err(ModulesError::Write)?;
    Ok(names)
}

#[cfg(test)]
mod tests;
