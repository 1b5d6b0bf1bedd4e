//! Bundle directories: made whole, removed whole.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use container_api::roots::{Roots, create_private};
use container_resource::bundle::{self, Bundle};
use container_resource::container::{ContainerConfiguration, CreateOptions};

use crate::dot_names;

/// Makes the bundle of `configuration`. `config.json` is written last: a directory without it is no bundle.
pub fn create(
    bundle: &Bundle,
    configuration: &ContainerConfiguration,
    options: &CreateOptions,
) -> io::Result<()> {
    bundle::write_json(&bundle.options(), options)?;
    bundle::write_json(&bundle.configuration(), configuration)
}

/// Frees the name of a bundle at once; gives the directory that remains to be removed.
pub fn detach(roots: &Roots, bundle: &Bundle) -> io::Result<PathBuf> {
    let trash = roots.containers().join(dot_names::removing());
    std::fs::rename(bundle.directory(), &trash)?;
    Ok(trash)
}

/// Lets the owner of a bundle's directory, who we are, into it again.
pub fn open_up(bundle: &Bundle) -> io::Result<()> {
    std::fs::set_permissions(bundle.directory(), Permissions::from_mode(0o700))
}

/// Removes what was being written to `bundle`, which is at rest, when its writer was killed.
pub fn sweep(bundle: &Bundle) -> io::Result<()> {
    for entry in std::fs::read_dir(bundle.directory())? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(b".") || name.ends_with(b".partial") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What lies in the containers' directory.
#[derive(Debug)]
pub enum Found {
    /// A bundle, by its id.
    Bundle(String, Bundle),
    /// A directory whose creation or removal was cut off.
    Remains(PathBuf),
}

/// Looks through the containers' directory, making it when it is missing.
pub fn scan(roots: &Roots) -> io::Result<Vec<Found>> {
    let directory = roots.containers();
    create_private(&directory)?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&directory)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let bundle = Bundle::new(entry.path());
        // Bundles of other names were not made by us: what is not UTF-8 cannot be an id.
        let Ok(id) = entry.file_name().into_string() else {
            continue;
        };
        let unfinished = is_absent(&bundle.configuration()) && is_absent(&bundle.upper())
            || is_present(&bundle.unfinished());
        if dot_names::is_removing(&id) || unfinished {
            found.push(Found::Remains(entry.path()));
        } else {
            found.push(Found::Bundle(id, bundle));
        }
    }
    Ok(found)
}

/// Whether `path` is certainly not there. What cannot be looked at, or leads nowhere, may be somebody's data.
fn is_absent(path: &Path) -> bool {
    path.symlink_metadata()
        .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Whether `path` is certainly there: a mark in a directory that cannot be looked into condemns nothing.
fn is_present(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_written_files_are_swept() {
        let scratch = tempfile::tempdir().unwrap();
        for file in [
            "config.json",
            ".boot.json.17",
            "upper.partial",
            "stdio.log.1",
        ] {
            std::fs::write(scratch.path().join(file), "x").unwrap();
        }
        sweep(&Bundle::new(scratch.path())).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(scratch.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["config.json", "stdio.log.1"]);
    }

    #[test]
    fn cut_off_creations_and_removals_are_remains_and_damaged_bundles_are_not() {
        let scratch = tempfile::tempdir().unwrap();
        let roots = Roots::new(scratch.path().into(), "/p".into(), None).unwrap();
        let make = |name: &str, files: &[&str]| {
            let directory = roots.containers().join(name);
            std::fs::create_dir_all(&directory).unwrap();
            for file in files {
                std::fs::write(directory.join(file), "x").unwrap();
            }
        };
        make("whole", &["config.json", "options.json"]);
        make("damaged", &["upper.ext4"]);
        make("unfinished", &["options.json"]);
        make("marked", &["config.json", "upper.ext4", "unfinished"]);
        make("elsewhere", &["options.json"]);
        let link = roots.containers().join("elsewhere/config.json");
        std::os::unix::fs::symlink("/absent", link).unwrap();
        make(".removing-1", &["config.json", "upper.ext4"]);
        let (mut bundles, mut remains) = (Vec::new(), 0);
        for found in scan(&roots).unwrap() {
            match found {
                Found::Bundle(id, _) => bundles.push(id),
                Found::Remains(_) => remains += 1,
            }
        }
        bundles.sort();
        assert_eq!(
            (bundles, remains),
            (
                ["damaged", "elsewhere", "whole"]
                    .map(str::to_owned)
                    .to_vec(),
                3
            )
        );
    }
}
