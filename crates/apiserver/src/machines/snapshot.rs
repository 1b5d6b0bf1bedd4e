//! A machine's disk as it was: copies beside it, in the bundle of its container, which go with it.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use container_api::roots::create_private;
use container_api::{Error, Kind};
use container_files::Links;
use container_resource::bundle::Bundle;
use container_resource::machine::Snapshot;
use container_resource::name;
use jiff::Timestamp;

use super::Machines;
use crate::disk_usage;

/// Ends the name of a snapshot's file.
const SUFFIX: &str = ".ext4";
/// Begins the name of a file that is being written.
const UNFINISHED: &str = ".unfinished-";

impl Machines {
    /// Keeps the disk of the machine `id`, which does not run, as `snapshot`.
    ///
    /// # Errors
    /// When the name is none or is taken, the machine runs or was never booted, or the disk is full.
    pub async fn create_snapshot(&self, id: &str, snapshot: String) -> Result<(), Error> {
        name::validate(&snapshot).map_err(|error| Error::chain(Kind::InvalidArgument, &error))?;
        let name = self.name(id)?;
        let entry = self.find(&name)?;
        let size = disk_usage::of_file(&entry.bundle.upper());
        self.containers.reserve.check_for(size)?;
        let (machine, kept) = (name.clone(), snapshot.clone());
        let work = move |bundle: &Bundle| {
            let target = file(bundle, &snapshot);
            if target.exists() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            copy(bundle, &bundle.upper(), &target)
        };
        let made = self.containers.with_bundle(&entry.id, work).await;
        made.map_err(|error| told(error, &machine, &format!("make snapshot {kept}")))
    }

    /// The snapshots of the machine `id`, the oldest first.
    ///
    /// # Errors
    /// When there is no such machine, or its directory cannot be read.
    pub fn snapshots(&self, id: &str) -> Result<Vec<Snapshot>, Error> {
        let entry = self.find(&self.name(id)?)?;
        list(&entry.bundle)
            .map_err(|error| Error::chain(Kind::Internal, &error).context("list the snapshots"))
    }

    /// Gives the machine `id`, which does not run, the disk that it had at `snapshot`.
    ///
    /// # Errors
    /// When there is no such snapshot, the machine runs, or the disk is full.
    pub async fn restore_snapshot(&self, id: &str, snapshot: String) -> Result<(), Error> {
        let name = self.name(id)?;
        let entry = self.find(&name)?;
        let path = existing(&entry.bundle, &name, &snapshot)?;
        self.containers
            .reserve
            .check_for(disk_usage::of_file(&path))?;
        let work = move |bundle: &Bundle| copy(bundle, &path, &bundle.upper());
        let restored = self.containers.with_bundle(&entry.id, work).await;
        restored.map_err(|error| told(error, &name, &format!("restore snapshot {snapshot}")))
    }

    /// Deletes a snapshot of the machine `id`.
    ///
    /// # Errors
    /// When there is no such snapshot, or it cannot be removed.
    pub fn delete_snapshot(&self, id: &str, snapshot: &str) -> Result<(), Error> {
        let name = self.name(id)?;
        let entry = self.find(&name)?;
        let path = existing(&entry.bundle, &name, snapshot)?;
        std::fs::remove_file(&path).map_err(|error| {
            Error::chain(Kind::Internal, &error).context(format_args!("delete snapshot {snapshot}"))
        })
    }
}

/// A copy of the disk of `bundle`, or of the disk `from` that was kept of it, under a name that nobody knows. Whatever such copy was left
/// half-way is removed: the caller holds the container's operations.
pub fn stage(bundle: &Bundle, from: &Path) -> io::Result<PathBuf> {
    let directory = directory(bundle);
    create_private(&directory)?;
    for entry in std::fs::read_dir(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    let staged = directory.join(format!("{UNFINISHED}{}", uuid::Uuid::new_v4()));
    let written = container_files::create(&staged).and_then(|file| {
        container_ext4::copy(from, &file)?;
        file.sync_all()
    });
    if let Err(error) = written {
        // Nothing else has its name; the next copy tries again.
        let _ = std::fs::remove_file(&staged);
        return Err(error);
    }
    Ok(staged)
}

/// Makes the file `target` a copy of the disk `from`, all at once.
fn copy(bundle: &Bundle, from: &Path, target: &Path) -> io::Result<()> {
    let staged = stage(bundle, from)?;
    std::fs::rename(staged, target)
}

fn directory(bundle: &Bundle) -> PathBuf {
    bundle.directory().join("snapshots")
}

fn file(bundle: &Bundle, snapshot: &str) -> PathBuf {
    directory(bundle).join(format!("{snapshot}{SUFFIX}"))
}

fn existing(bundle: &Bundle, machine: &str, snapshot: &str) -> Result<PathBuf, Error> {
    let missing = || {
        let text = format!("machine {machine} has no snapshot {snapshot}");
        Error::new(Kind::NotFound, text).with_hint(format!(
            "`container machine snapshot list {machine}` shows those that it has."
        ))
    };
    // What is no name is no file's name either.
    name::validate(snapshot).map_err(|_| missing())?;
    let path = file(bundle, snapshot);
    container_files::open(&path, Links::Refuse).map_err(|_| missing())?;
    Ok(path)
}

fn list(bundle: &Bundle) -> io::Result<Vec<Snapshot>> {
    let entries = match std::fs::read_dir(directory(bundle)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let name = entry.file_name().into_string().unwrap_or_default();
        let Some(id) = name.strip_suffix(SUFFIX).filter(|_| metadata.is_file()) else {
            continue;
        };
        let created = Timestamp::new(metadata.mtime(), 0).unwrap_or(Timestamp::UNIX_EPOCH);
        found.push(Snapshot {
            id: id.to_owned(),
            created_date: created,
            disk_size: disk_usage::of_file(&entry.path()),
        });
    }
    found.sort_by(|a, b| (a.created_date, &a.id).cmp(&(b.created_date, &b.id)));
    Ok(found)
}

/// What became of an operation on the disk of a machine.
pub fn told(error: Error, machine: &str, what: &str) -> Error {
    match error.kind {
        Kind::InvalidState => Error::new(
            Kind::InvalidState,
            format!("{what}: machine {machine} is running"),
        )
        .with_hint(format!(
            "Stop it first: `container machine stop {machine}`."
        )),
        _ => error.context(format_args!("{what} of machine {machine}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_listed_from_the_oldest_and_unfinished_ones_are_none() {
        let scratch = tempfile::tempdir().unwrap();
        let bundle = Bundle::new(scratch.path());
        assert_eq!(list(&bundle).unwrap(), []);
        std::fs::create_dir(directory(&bundle)).unwrap();
        std::fs::write(bundle.upper(), "disk").unwrap();
        for name in ["new", "old"] {
            copy(&bundle, &bundle.upper(), &file(&bundle, name)).unwrap();
        }
        let old = std::fs::File::options()
            .write(true)
            .open(file(&bundle, "old"))
            .unwrap();
        old.set_modified(std::time::UNIX_EPOCH).unwrap();
        std::fs::write(directory(&bundle).join(".unfinished-1"), "x").unwrap();
        let names: Vec<_> = list(&bundle)
            .unwrap()
            .into_iter()
            .map(|one| one.id)
            .collect();
        assert_eq!(names, ["old", "new"]);
        assert_eq!(std::fs::read(file(&bundle, "new")).unwrap(), b"disk");
        for name in ["none", "../config", ""] {
            assert_eq!(
                existing(&bundle, "m", name).unwrap_err().kind,
                Kind::NotFound
            );
        }
        let from = scratch.path().join("absent");
        assert!(copy(&bundle, &from, &file(&bundle, "x")).is_err());
        // What was left half-way is gone, too.
        assert_eq!(std::fs::read_dir(directory(&bundle)).unwrap().count(), 2);
    }
}
