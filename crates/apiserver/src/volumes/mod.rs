//! Volumes: one directory each, with what it is and its disk.
//!
//! Nothing of them is kept in memory: a directory that is damaged harms its own volume alone.

mod archive;
mod containers;
mod fill;
mod lock;
mod machine;
mod replay;

use std::io;
use std::path::PathBuf;

use container_api::roots::create_private;
use container_api::{Error, Kind};
use container_ext4::{DiskError, Format, WIDE};
use container_resource::bundle;
use container_resource::label::well_known;
use container_resource::size;
use container_resource::volume::{
    DRIVER, FORMAT, VolumeConfiguration, VolumeRequest, VolumeResource, check_name,
};
use jiff::Timestamp;
use lock::{Company, Patience};

use crate::containers::kind;
use crate::{disk_usage, dot_names};

/// All volumes of the system.
#[derive(Debug)]
pub struct Volumes {
    directory: PathBuf,
    /// Held while one is made or removed, or becomes a container's.
    change: tokio::sync::Mutex<()>,
    /// Held while the journal of one is replayed, or a new one is filled.
    replay: tokio::sync::Mutex<()>,
}

/// A volume that has no name yet. Dropping it deletes it.
#[derive(Debug)]
struct Unfinished {
    directory: PathBuf,
    volume: VolumeResource,
}

impl Unfinished {
    fn disk(&self) -> PathBuf {
        self.directory.join("volume.img")
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Not there any more when it was kept; what cannot be removed is swept by the next start.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn unreadable(error: &io::Error) -> String {
    format!("what it is cannot be read: {error}")
}

fn not_made(name: &str, error: io::Error) -> Error {
    Error::caused(kind(&error), error).context(format_args!("create the volume {name}"))
}

impl Volumes {
    /// Those below `directory`.
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            change: tokio::sync::Mutex::default(),
            replay: tokio::sync::Mutex::default(),
        }
    }

    /// Removes what was left half made or half removed.
    pub fn sweep(&self) -> io::Result<()> {
        create_private(&self.directory)?;
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            if dot_names::is_unfinished(&entry.file_name()) {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// The disk of the volume `name`.
    pub fn disk(&self, name: &str) -> PathBuf {
        self.directory.join(name).join("volume.img")
    }

    fn configuration(&self, name: &str) -> PathBuf {
        self.directory.join(name).join("config.json")
    }

    /// The volume `name`.
    ///
    /// # Errors
    /// [`Kind::NotFound`], and [`Kind::InvalidState`] where it is damaged.
    pub fn get(&self, name: &str) -> Result<VolumeResource, Error> {
        let missing = || Error::new(Kind::NotFound, format!("volume not found: {name}"));
        // What is no name is no file's name either.
        check_name(name).map_err(|_| missing())?;
        if self.directory.join(name).symlink_metadata().is_err() {
            return Err(missing());
        }
        let configuration = self.read(name);
        match (configuration, self.damage(name)) {
            (Ok(configuration), None) => Ok(VolumeResource {
                id: name.to_owned(),
                configuration,
                damage: None,
            }),
            (_, Some(damage)) => Err(self.damaged(name, &damage)),
            (Err(error), None) => Err(self.damaged(name, &unreadable(&error))),
        }
    }

    fn read(&self, name: &str) -> io::Result<VolumeConfiguration> {
        bundle::read_json(&self.configuration(name))
    }

    /// What is wrong with the disk of the volume `name`. Each use of a volume comes here, so that a damaged one is told of before a machine
    /// is started for it. It is two bytes of a page that the kernel has in memory after the first time, and reads nothing that a
    /// guest could make large.
    fn damage(&self, name: &str) -> Option<String> {
        match container_ext4::is_ext4(&self.disk(name)) {
            Ok(true) => None,
            Ok(false) => Some("its disk is no ext4 file system".to_owned()),
            Err(error) => Some(match error.kind() {
                io::ErrorKind::NotFound => "its disk is missing".to_owned(),
                io::ErrorKind::InvalidData => format!("its disk is no file: {error}"),
                _ => format!("its disk cannot be read: {error}"),
            }),
        }
    }

    /// The one text of a volume that cannot be used as it is.
    fn damaged(&self, name: &str, damage: &str) -> Error {
        let text = format!("volume {name} is damaged: {damage}");
        Error::new(Kind::InvalidState, text).with_hint(format!(
            "Its files are in {}. Put back what is missing, or delete the volume and fill a new one: `container volume delete {name}`, \
             `container volume import {name} <backup.tar>`.",
            self.directory.join(name).display()
        ))
    }

    /// All of them, by name. A damaged one is listed with what its disk tells.
    pub fn list(&self) -> io::Result<Vec<VolumeResource>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let Ok(name) = entry?.file_name().into_string() else {
                continue;
            };
            if check_name(&name).is_err() {
                continue;
            }
            match self.get(&name) {
                Ok(volume) => found.push(volume),
                Err(error) if error.kind == Kind::NotFound => {}
                Err(error) => {
                    tracing::warn!("{error:#}");
                    found.push(self.as_it_is(name));
                }
            }
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    /// What is left of a damaged volume.
    fn as_it_is(&self, name: String) -> VolumeResource {
        let disk = self.disk(&name);
        let (configuration, unreadable) = match self.read(&name) {
            Ok(configuration) => (configuration, None),
            Err(error) => {
                let configuration = VolumeConfiguration {
                    name: name.clone(),
                    driver: DRIVER.to_owned(),
                    format: FORMAT.to_owned(),
                    source: disk.display().to_string(),
                    creation_date: Timestamp::UNIX_EPOCH,
                    labels: std::collections::BTreeMap::new(),
                    options: std::collections::BTreeMap::new(),
                    size_in_bytes: disk.metadata().ok().map(|metadata| metadata.len()),
                };
                (configuration, Some(unreadable(&error)))
            }
        };
        VolumeResource {
            damage: self.damage(&name).or(unreadable),
            id: name,
            configuration,
        }
    }

    /// Bytes that the volume `name` takes on the disk.
    pub fn allocated(&self, name: &str) -> u64 {
        disk_usage::of_file(&self.disk(name))
    }

    /// Makes a volume. The caller holds [`Self::change`].
    fn make(&self, request: VolumeRequest) -> Result<VolumeResource, Error> {
        self.keep(&self.begin(request)?)
    }

    /// Makes a volume that nobody sees before it is kept. The caller holds [`Self::change`].
    fn begin(&self, mut request: VolumeRequest) -> Result<Unfinished, Error> {
        let (size, journal) = request
            .check()
            .map_err(|error| Error::caused(Kind::InvalidArgument, error))?;
        if request.name.is_empty() {
            request.name = uuid::Uuid::new_v4().to_string();
            request
                .labels
                .insert(well_known::ANONYMOUS.to_owned(), String::new());
        }
        let name = request.name;
        self.check_free(&name)?;
        let configuration = VolumeConfiguration {
            name: name.clone(),
            driver: DRIVER.to_owned(),
            format: FORMAT.to_owned(),
            source: self.disk(&name).display().to_string(),
            creation_date: Timestamp::now(),
            labels: request.labels,
            options: request.options,
            size_in_bytes: Some(size),
        };
        let format = Format {
            size,
            journal,
            growable: true,
        };
        let unfinished = Unfinished {
            directory: self.unfinished(),
            volume: VolumeResource {
                id: name,
                configuration,
                damage: None,
            },
        };
        let name = &unfinished.volume.id;
        create_private(&unfinished.directory).map_err(|error| not_made(name, error))?;
        container_ext4::make(&unfinished.disk(), &format).map_err(|error| {
            let kind = match error {
                DiskError::TooLarge { .. } => Kind::InvalidArgument,
                _ => Kind::Internal,
            };
            Error::caused(kind, error).context(format_args!("create the volume {name}"))
        })?;
        let path = unfinished.directory.join("config.json");
        bundle::write_json(&path, &unfinished.volume.configuration)
            .map_err(|error| not_made(name, error))?;
        Ok(unfinished)
    }

    /// Gives `unfinished` its name. The caller holds [`Self::change`].
    fn keep(&self, unfinished: &Unfinished) -> Result<VolumeResource, Error> {
        let name = &unfinished.volume.id;
        self.check_free(name)?;
        std::fs::rename(&unfinished.directory, self.directory.join(name))
            .and_then(|()| std::fs::File::open(&self.directory)?.sync_all())
            .map_err(|error| not_made(name, error))?;
        Ok(unfinished.volume.clone())
    }

    fn check_free(&self, name: &str) -> Result<(), Error> {
        if self.directory.join(name).exists() {
            let text = format!("volume already exists: {name}");
            return Err(Error::new(Kind::Exists, text));
        }
        Ok(())
    }

    fn unfinished(&self) -> PathBuf {
        self.directory.join(dot_names::unfinished())
    }

    /// Removes the volume `name`, which nobody has; gives the bytes that it took. The caller holds [`Self::change`].
    async fn remove(&self, name: &str, patience: Patience) -> Result<u64, Error> {
        let failed = |error: io::Error| {
            Error::caused(kind(&error), error).context(format_args!("delete the volume {name}"))
        };
        let _lock = self.lock(name, Company::None, patience).await?;
        let trash = self.unfinished();
        std::fs::rename(self.directory.join(name), &trash).map_err(failed)?;
        disk_usage::remove(trash).await.map_err(failed)
    }

    /// Makes the disk of the volume `name` of `size` bytes. The caller holds [`Self::change`].
    async fn grow(&self, name: &str, size: u64) -> Result<(), Error> {
        let VolumeResource {
            mut configuration, ..
        } = self.get(name)?;
        // Whoever was killed while it was made larger may not have said so yet, and a machine may have grown its file system since.
        let disk = self
            .disk(name)
            .symlink_metadata()
            .map_or(0, |disk| disk.len());
        let present = configuration.size().max(disk);
        if size < present {
            let text = format!(
                "volume {name} has {}: volumes are never made smaller",
                size::memory(present)
            );
            return Err(Error::new(Kind::InvalidArgument, text));
        }
        if present < WIDE && size >= WIDE {
            let text = format!(
                "volume {name} was made with less than {}, and does not grow to that",
                size::memory(WIDE)
            );
            return Err(Error::new(Kind::InvalidArgument, text));
        }
        let failed = |error: io::Error| {
            let kind = match error.kind() {
                io::ErrorKind::FileTooLarge => Kind::InvalidArgument,
                _ => kind(&error),
            };
            Error::caused(kind, error).context(format_args!("resize the volume {name}"))
        };
        // It follows no link.
        let Some(_lock) = self.lock(name, Company::None, Patience::Usual).await? else {
            return Err(self.damaged(name, "its disk is no file"));
        };
        let disk = std::fs::File::options()
            .write(true)
            .open(self.disk(name))
            .map_err(failed)?;
        disk.set_len(size).map_err(failed)?;
        configuration.size_in_bytes = Some(size);
        // As it would be asked for now.
        let shown = size::exact(size);
        configuration.options.insert("size".to_owned(), shown);
        bundle::write_json(&self.configuration(name), &configuration).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::FlockOperation;

    use super::*;

    fn request(name: &str, options: &[(&str, &str)]) -> VolumeRequest {
        VolumeRequest {
            name: name.to_owned(),
            options: options
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..VolumeRequest::default()
        }
    }

    #[tokio::test]
    async fn a_volume_without_its_disk_is_damaged_for_everybody() {
        type Change = fn(&std::path::Path);
        let scratch = tempfile::tempdir().unwrap();
        let volumes = Volumes::new(scratch.path().join("volumes"));
        volumes.sweep().unwrap();
        volumes.make(request("v", &[("size", "16m")])).unwrap();
        let disk = volumes.disk("v");
        let aside = scratch.path().join("aside");
        std::fs::rename(&disk, &aside).unwrap();
        let changes: [(Change, &str); 5] = [
            (|_| {}, "its disk is missing"),
            (
                |disk| std::fs::create_dir(disk).unwrap(),
                "its disk is no file: a directory",
            ),
            (
                |disk| std::os::unix::fs::symlink("/dev/zero", disk).unwrap(),
                "its disk is no file: a symbolic link",
            ),
            (
                |disk| std::fs::write(disk, "").unwrap(),
                "no ext4 file system",
            ),
            (
                |disk| std::fs::write(disk, vec![7; 8192]).unwrap(),
                "no ext4 file system",
            ),
        ];
        for (change, words) in changes {
            let _ = std::fs::remove_file(&disk);
            let _ = std::fs::remove_dir(&disk);
            change(&disk);
            for error in [
                volumes.get("v").unwrap_err(),
                volumes.grow("v", 32 << 20).await.unwrap_err(),
            ] {
                assert_eq!(error.kind, Kind::InvalidState);
                assert!(error.message().contains(words), "{error} {words}");
                assert!(error.hint.unwrap().contains("container volume import v"));
            }
            let listed = volumes.list().unwrap();
            assert!(listed[0].damage.as_ref().unwrap().contains(words));
            // What it was is known.
            assert_eq!(listed[0].configuration.options["size"], "16m");
        }
        std::fs::remove_file(&disk).unwrap();
        std::fs::rename(&aside, &disk).unwrap();
        assert_eq!(volumes.list().unwrap()[0].damage, None);
        std::fs::remove_file(&disk).unwrap();
        volumes.remove("v", Patience::Usual).await.unwrap();
        assert_eq!(volumes.get("v").unwrap_err().kind, Kind::NotFound);
    }

    #[tokio::test]
    async fn a_volume_is_whole_or_not_there() {
        let scratch = tempfile::tempdir().unwrap();
        let volumes = Volumes::new(scratch.path().join("volumes"));
        volumes.sweep().unwrap();
        let made = volumes
            .make(request("v", &[("size", "16m"), ("journal", "journal:4m")]))
            .unwrap();
        assert_eq!(made.configuration.size_in_bytes, Some(16 << 20));
        assert_eq!(volumes.disk("v").metadata().unwrap().len(), 16 << 20);
        assert_eq!(
            volumes.make(request("v", &[])).unwrap_err().kind,
            Kind::Exists
        );
        assert_eq!(
            volumes.make(request("../v", &[])).unwrap_err().kind,
            Kind::InvalidArgument
        );
        let anonymous = volumes.make(request("", &[("size", "1m")])).unwrap();
        assert!(anonymous.configuration.is_anonymous());
        assert_eq!(volumes.list().unwrap().len(), 2);

        // What a link in its place leads to is not touched.
        let other = scratch.path().join("other");
        std::fs::write(&other, "x").unwrap();
        std::fs::rename(volumes.disk("v"), scratch.path().join("aside")).unwrap();
        std::os::unix::fs::symlink(&other, volumes.disk("v")).unwrap();
        assert!(volumes.grow("v", 32 << 20).await.is_err());
        assert_eq!(std::fs::read(&other).unwrap(), b"x");
        std::fs::rename(scratch.path().join("aside"), volumes.disk("v")).unwrap();
        volumes.grow("v", 32 << 20).await.unwrap();
        assert_eq!(
            volumes.get("v").unwrap().configuration.options["size"],
            "32m"
        );
        assert!(volumes.grow("v", 16 << 20).await.is_err());
        // A machine could not let it grow so far.
        let error = volumes.grow("v", WIDE).await.unwrap_err();
        assert_eq!(error.kind, Kind::InvalidArgument);
        assert_eq!(volumes.get("v").unwrap().configuration.size(), 32 << 20);
        assert_eq!(volumes.disk("v").metadata().unwrap().len(), 32 << 20);

        // Killed after its disk was made larger, and before that was written down.
        let disk = std::fs::File::options().write(true).open(volumes.disk("v"));
        disk.unwrap().set_len(48 << 20).unwrap();
        assert!(volumes.grow("v", 40 << 20).await.is_err());
        assert_eq!(volumes.disk("v").metadata().unwrap().len(), 48 << 20);
        volumes.grow("v", 48 << 20).await.unwrap();
        assert_eq!(volumes.get("v").unwrap().configuration.size(), 48 << 20);

        // A machine that nobody knows of has it.
        let machine = std::fs::File::open(volumes.disk("v")).unwrap();
        rustix::fs::flock(&machine, FlockOperation::LockShared).unwrap();
        let kind = |error: Error| error.kind;
        assert_eq!(
            volumes.remove("v", Patience::Usual).await.map_err(kind),
            Err(Kind::InvalidState)
        );
        assert_eq!(
            volumes.grow("v", 64 << 20).await.map_err(kind),
            Err(Kind::InvalidState)
        );
        drop(machine);

        // A damaged one is listed, and removed when somebody asks for that.
        std::fs::write(volumes.configuration("v"), "{").unwrap();
        assert_eq!(volumes.get("v").unwrap_err().kind, Kind::InvalidState);
        assert_eq!(volumes.list().unwrap().len(), 2);
        assert!(volumes.remove("v", Patience::Usual).await.unwrap() > 0);
        assert_eq!(volumes.get("v").unwrap_err().kind, Kind::NotFound);
        std::fs::create_dir(volumes.unfinished()).unwrap();
        volumes.sweep().unwrap();
        assert_eq!(std::fs::read_dir(&volumes.directory).unwrap().count(), 1);
    }
}
