//! Volumes of a container: which disks its machine has for them, and whose they are meanwhile.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use container_api::{Error, Kind, lock};
use container_engine::{Disk, DiskRole};
use container_files::Links;
use container_resource::container::{ContainerConfiguration, Mount};
use container_resource::volume::NO_COPY;
use rustix::fs::FlockOperation;

/// How long to wait for a container that has the volume and is about to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// A volume that a container mounts, at one place or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its disk on the host.
    pub source: PathBuf,
    /// None of its mounts may be written to.
    pub read_only: bool,
    /// Where the image's files fill it, if it is empty.
    pub fill_from: Vec<String>,
}

impl Volume {
    /// Those of a container, each once. Its place in the list is the number of its disk.
    pub fn all(configuration: &ContainerConfiguration) -> Vec<Self> {
        let volumes = configuration.volumes().into_iter();
        let of = |name: &str| {
            let mounts = configuration.mounts.iter();
            let mounts: Vec<_> = mounts
                .filter(|mount| mount.volume() == Some(name))
                .collect();
            // What is mounted a part of has to be there, so it is not empty.
            let fills = |mount: &&&Mount| {
                mount.subpath().is_none() && !mount.options.iter().any(|option| option == NO_COPY)
            };
            Self {
                name: name.to_owned(),
                // All of them have one.
                source: mounts
                    .first()
                    .map_or_else(PathBuf::new, |mount| PathBuf::from(&mount.source)),
                read_only: configuration.only_reads(name),
                fill_from: mounts
                    .iter()
                    .filter(fills)
                    .map(|mount| mount.destination.clone())
                    .collect(),
            }
        };
        volumes.map(of).collect()
    }

    /// What its disk is to the machine.
    pub fn role(number: usize) -> DiskRole {
        DiskRole::Volume(u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// Takes it for this process: alone, or with others that only read. It is given up when the file is closed, however that comes
    /// about.
    ///
    /// # Errors
    /// [`Kind::InvalidState`] where it is another container's, [`Kind::NotFound`] where there is none.
    async fn take(&self) -> Result<File, Error> {
        let failed = |error: io::Error| {
            Error::caused(Kind::Internal, error)
                .context(format_args!("open the volume {}", self.name))
        };
        let file =
            container_files::open(&self.source, Links::Refuse).map_err(|error| {
                match error.kind() {
                    io::ErrorKind::NotFound => {
                        Error::new(Kind::NotFound, format!("volume not found: {}", self.name))
                    }
                    _ => failed(error),
                }
            })?;
        let how = if self.read_only {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        match lock::take_file(&file, how, PATIENCE).await {
            Ok(()) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let text = format!(
                    "volume '{}' is currently in use and cannot be accessed by another container",
                    self.name
                );
                let hint = if self.read_only {
                    "A container that writes to it has it: `container list` shows those that run."
                } else {
                    "Who writes to a volume has it alone: `container list` shows the containers that run."
                };
                let refused = Error::new(Kind::InvalidState, text).of_volume(&*self.name);
                Err(refused.with_hint(hint))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Its disk, `number` of those of the machine.
    fn disk(&self, number: usize, file: &File) -> Result<Disk, Error> {
        let size = file
            .metadata()
            .map_err(|error| Error::caused(Kind::Internal, error).context("measure a volume"))?
            .len();
        let role = Self::role(number);
        Ok(if self.read_only {
            Disk::read_only(role, &self.source, size)
        } else {
            Disk::writable(role, &self.source, size)
        })
    }
}

/// Volumes that are this process's: their disks, as long as this is held.
#[derive(Debug, Default)]
pub struct Taken {
    /// In the order of their numbers.
    pub disks: Vec<Disk>,
    files: Vec<File>,
}

impl Taken {
    /// Takes the volumes of a container.
    ///
    /// # Errors
    /// The first one that cannot be had; all others are given up then.
    pub async fn take(configuration: &ContainerConfiguration) -> Result<Self, Error> {
        let mut taken = Self::default();
        for (number, volume) in Volume::all(configuration).iter().enumerate() {
            let file = volume.take().await?;
            taken.disks.push(volume.disk(number, &file)?);
            taken.files.push(file);
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use container_resource::volume;

    use super::*;

    #[test]
    fn disks_have_the_serial_numbers_that_the_guest_looks_for() {
        for number in [0_u32, 7] {
            let serial = container_api::guest_paths::volume_serial(number);
            assert_eq!(DiskRole::Volume(number).serial(), serial);
        }
    }

    fn configuration(mounts: &[&str], source: &std::path::Path) -> ContainerConfiguration {
        let mut configuration = crate::oci::tests::configuration();
        for text in mounts {
            let mut mount = volume::parse(text).unwrap();
            mount.source = source.display().to_string();
            configuration.mounts.push(mount);
        }
        configuration
    }

    #[test]
    fn a_volume_is_one_disk_however_often_it_is_mounted() {
        let source = std::path::Path::new("/v");
        let all = Volume::all(&configuration(
            &["a:/x:ro", "b:/y:ro,nocopy", "a:/z"],
            source,
        ));
        let shown: Vec<_> = all
            .iter()
            .map(|volume| {
                (
                    volume.name.as_str(),
                    volume.read_only,
                    volume.fill_from.join(" "),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [("a", false, "/x /z".to_owned()), ("b", true, String::new())]
        );
    }

    #[tokio::test]
    async fn a_writer_is_alone_and_readers_are_many() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("volume.img");
        std::fs::write(&path, vec![0; 4096]).unwrap();
        let (writer, reader) = (
            configuration(&["a:/x"], &path),
            configuration(&["a:/x:ro"], &path),
        );
        let readers = (
            Taken::take(&reader).await.unwrap(),
            Taken::take(&reader).await.unwrap(),
        );
        assert_eq!(readers.0.disks[0].size, 4096);
        let error = Taken::take(&writer).await.unwrap_err();
        assert_eq!(error.kind, Kind::InvalidState);
        assert!(
            error.message().contains("volume 'a' is currently in use"),
            "{error}"
        );
        drop(readers);
        let alone = Taken::take(&writer).await.unwrap();
        assert!(Taken::take(&reader).await.is_err());
        drop(alone);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(Taken::take(&reader).await.unwrap_err().kind, Kind::NotFound);
    }
}
