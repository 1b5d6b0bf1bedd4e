//! The modules of a kernel that has its drivers not built in: `container system kernel set` has put them into the initramfs.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::system::finit_module;
use thiserror::Error;

/// Where they are. Their names begin with their places in the order in which they have to be loaded.
const DIRECTORY: &str = "/modules";

/// A module that the kernel does not take.
#[derive(Debug, Error)]
#[error("cannot load the module {}", path.display())]
pub struct ModuleError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Loads all that are there, and removes them: the initramfs is memory.
pub fn load() -> Result<(), ModuleError> {
    let paths = match ordered(Path::new(DIRECTORY)) {
        Ok(paths) => paths,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(ModuleError {
                path: DIRECTORY.into(),
                source,
            });
        }
    };
    for path in paths {
        let loaded = File::open(&path).and_then(|file| match finit_module(file, c"", 0) {
            // It is built in, or another one's twin.
            Ok(()) | Err(Errno::EXIST) => fs::remove_file(&path),
            Err(error) => Err(error.into()),
        });
        loaded.map_err(|source| ModuleError { path, source })?;
    }
    Ok(())
}

fn ordered(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
    paths.sort_unstable();
    Ok(paths)
}
