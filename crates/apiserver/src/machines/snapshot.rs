//! A machine's disk as it was: copies beside it, in the bundle of its container, which go with it.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use container_api::{Error, Kind};
use container_files::Links;
use container_resource::bundle::Bundle;
use container_resource::machine::{Snapshot, check_snapshot_name};
use jiff::Timestamp;

use super::Machines;
use super::disk::{Staged, directory};
use crate::containers::kind;
use crate::disk_usage;

/// Ends the name of a snapshot's file.
const SUFFIX: &str = ".ext4";

impl Machines {
    /// Keeps the disk of the machine `id` as `snapshot`. One that runs stands still while the disk is copied.
    ///
    /// # Errors
    /// When the name is invalid or taken, the machine was never booted, or the disk is full.
    pub async fn create_snapshot(&self, id: &str, snapshot: String) -> Result<(), Error> {
        check_snapshot_name(&snapshot).map_err(|text| Error::new(Kind::InvalidArgument, text))?;
        let name = self.name(id)?;
        let entry = self.find(&name)?;
        let target = file(&entry.bundle, &snapshot);
        let taken = || {
            let text = format!("machine {name} has a snapshot {snapshot} already: it exists");
            Error::new(Kind::Exists, text)
        };
        // Before the work.
        if target.exists() {
            return Err(taken());
        }
        let context = format!("make snapshot {snapshot} of machine {name}");
        let copied = self.copy_disk(&entry).await;
        let staged = copied.map_err(|error| told(error, &name, &context))?;
        let Some(staged) = staged else {
            let text = format!("{context}: it was never booted");
            return Err(Error::new(Kind::InvalidState, text));
        };
        staged.keep(&target).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => taken(),
            _ => Error::caused(kind(&error), error).context(context),
        })
    }

    /// The snapshots of the machine `id`, the oldest first.
    ///
    /// # Errors
    /// When there is no such machine, or its directory cannot be read.
    pub fn snapshots(&self, id: &str) -> Result<Vec<Snapshot>, Error> {
        let entry = self.find(&self.name(id)?)?;
        list(&entry.bundle)
            .map_err(|error| Error::caused(Kind::Internal, error).context("list the snapshots"))
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
        let work = move |bundle: &Bundle| Staged::copy(bundle, &path)?.replace(&bundle.upper());
        let restored = self.containers.with_bundle(&entry.id, work).await;
        let context = format!("restore snapshot {snapshot} of machine {name}");
        restored.map_err(|error| told(error, &name, &context))
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
            Error::caused(Kind::Internal, error).context(format_args!("delete snapshot {snapshot}"))
        })
    }
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
    check_snapshot_name(snapshot).map_err(|_| missing())?;
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
            disk_size: disk_usage::of(&metadata),
        });
    }
    found.sort_by(|a, b| (a.created_date, &a.id).cmp(&(b.created_date, &b.id)));
    Ok(found)
}

/// Why `what`, which is done with the disk of `machine`, was not done.
pub fn told(error: Error, machine: &str, what: &str) -> Error {
    match error.kind {
        Kind::InvalidState => {
            let text = format!("{what}: machine {machine} is running");
            let hint = format!("Stop it first: `container machine stop {machine}`.");
            Error::new(Kind::InvalidState, text).with_hint(hint)
        }
        _ => error.context(what),
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
        std::fs::write(bundle.upper(), "disk").unwrap();
        for name in ["new", "old"] {
            let copy = Staged::copy(&bundle, &bundle.upper()).unwrap();
            copy.keep(&file(&bundle, name)).unwrap();
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
    }
}
