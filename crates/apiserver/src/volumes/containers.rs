//! Which containers have which volumes.

use container_api::{Error, Kind};
use container_resource::container::{ContainerConfiguration, MountKind};
use container_resource::volume::{VolumeRequest, VolumeResource, VolumeUsage};

use super::lock::{Company, Patience};
use crate::containers::{Containers, Entry};

/// Volumes that were made for a container, to be taken back where it is not made.
#[derive(Debug, Default)]
pub struct Made(
    /// Each with whether the user has named it.
    Vec<(String, bool)>,
);

impl Made {
    /// Those that the user has named: nobody may have meant a new one.
    pub fn named(self) -> Vec<String> {
        let named = self.0.into_iter().filter(|(_, named)| *named);
        named.map(|(name, _)| name).collect()
    }
}

impl Containers {
    /// Makes a volume.
    ///
    /// # Errors
    /// When its name is taken, or the disk is full.
    pub async fn create_volume(&self, request: VolumeRequest) -> Result<VolumeResource, Error> {
        self.reserve.check()?;
        let _change = self.volumes.change.lock().await;
        self.volumes.make(request)
    }

    /// Deletes the volume `name`, unless a container has it; gives the bytes that it took.
    ///
    /// # Errors
    /// [`Kind::InvalidState`] where one has it.
    pub async fn delete_volume(&self, name: &str) -> Result<u64, Error> {
        let _change = self.volumes.change.lock().await;
        match self.volumes.get(name) {
            // A damaged one can be deleted.
            Err(error) if error.kind != Kind::InvalidState => return Err(error),
            _ => {}
        }
        if let Some(container) = self.user_of(name) {
            let text = format!(
                "volume '{name}' is currently in use and cannot be accessed by another container, or deleted"
            );
            return Err(Error::new(Kind::InvalidState, text)
                .with_hint(format!("Container {container} has it.")));
        }
        self.volumes.remove(name, Patience::Usual).await
    }

    /// Makes the volume `name` larger.
    ///
    /// # Errors
    /// When a container that runs has it, and when it would become smaller.
    pub async fn resize_volume(&self, name: &str, size: u64) -> Result<(), Error> {
        let _change = self.volumes.change.lock().await;
        let runs = |entry: &std::sync::Arc<Entry>| entry.is_active() && has(entry, name);
        if let Some(entry) = self.all().into_iter().find(runs) {
            let text = format!("volume {name} is in use: container {} runs", entry.id);
            return Err(Error::new(Kind::InvalidState, text));
        }
        self.volumes.grow(name, size).await
    }

    /// The volumes with these names, all of them for none, each with what it takes.
    pub fn list_volumes(&self, names: &[String]) -> Result<Vec<VolumeUsage>, Error> {
        let mut volumes = self
            .volumes
            .list()
            .map_err(|error| Error::caused(Kind::Internal, error).context("list the volumes"))?;
        volumes.retain(|volume| names.is_empty() || names.contains(&volume.id));
        let with_usage = |volume: VolumeResource| VolumeUsage {
            allocated_in_bytes: self.volumes.allocated(&volume.id),
            used: self.user_of(&volume.id).is_some(),
            volume,
        };
        Ok(volumes.into_iter().map(with_usage).collect())
    }

    /// Sees that the volumes of a container that is about to start are whole.
    ///
    /// # Errors
    /// [`Kind::NotFound`] and [`Kind::InvalidState`] for the first one that is not.
    pub fn check_volumes(&self, configuration: &ContainerConfiguration) -> Result<(), Error> {
        for mount in &configuration.mounts {
            // Machines of ours have disks of other volumes, and unfinished ones.
            let is_its_own =
                |name: &&str| self.volumes.disk(name) == std::path::Path::new(&mount.source);
            if let Some(name) = mount.volume().filter(is_its_own) {
                self.volumes.get(name)?;
            }
        }
        Ok(())
    }

    /// Says in `error`, of a start of `entry` that was refused a volume, which container has that.
    pub fn name_holder(&self, entry: &Entry, error: Error) -> Error {
        let (Some(name), Some(configuration)) = (error.volume.clone(), entry.readable()) else {
            return error;
        };
        let reads = configuration.only_reads(&name);
        let holder = self.all().into_iter().find_map(|other| {
            let writes = !other.readable()?.only_reads(&name);
            let is_other = other.id != entry.id && other.is_active() && has(&other, &name);
            (is_other && (writes || !reads)).then(|| (other.id.clone(), writes))
        });
        let Some((holder, writes)) = holder else {
            return error;
        };
        error.with_hint(match (writes, reads) {
            (true, true) => format!("Container {holder} writes to it: a volume is shared while all only read it (`:ro`)."),
            (true, false) => format!("Container {holder} writes to it: stop that first, or use another volume."),
            (false, _) => format!(
                "Container {holder} reads it, and who writes has it alone: stop that first, or only read it here, too (`:ro`)."
            ),
        })
    }

    /// A container that has the volume `name`.
    pub fn user_of(&self, name: &str) -> Option<String> {
        let entry = self.all().into_iter().find(|entry| has(entry, name));
        entry.map(|entry| entry.id.clone())
    }

    /// A container other than `own` that runs and has the volume `name`.
    pub(super) fn active_user_of(&self, name: &str, own: &str) -> Option<String> {
        let entries = self.all().into_iter();
        let mut others = entries.filter(|other| other.id != own);
        let holder = others.find(|other| other.is_active() && has(other, name));
        holder.map(|holder| holder.id.clone())
    }

    /// Finds the disks of the volumes that `configuration` mounts, and makes those that are not there yet. What is made by
    /// `enter` has them, and keeps them from being deleted.
    pub async fn with_volumes<T>(
        &self,
        mut configuration: ContainerConfiguration,
        enter: impl FnOnce(ContainerConfiguration) -> Result<T, Error>,
    ) -> Result<(T, Made), Error> {
        let _change = self.volumes.change.lock().await;
        let mut made = Made::default();
        let mut prepare = || {
            for mount in &mut configuration.mounts {
                let request = mount.take_volume_request();
                if let MountKind::Volume {
                    name, anonymous, ..
                } = &mut mount.kind
                {
                    *anonymous = name.is_empty();
                    let is_new = match self.volumes.get(name) {
                        _ if name.is_empty() => true,
                        Ok(_) => false,
                        Err(error) if error.kind == Kind::NotFound => true,
                        Err(error) => return Err(error),
                    };
                    if is_new {
                        self.reserve.check()?;
                        *name = self.volumes.make(request)?.id;
                        made.0.push((name.clone(), !*anonymous));
                    }
                    mount.source = self.volumes.disk(name).display().to_string();
                }
            }
            Ok(())
        };
        let entered = prepare().and_then(|()| enter(configuration));
        match entered {
            Ok(entered) => Ok((entered, made)),
            Err(error) => {
                self.take_back_locked(made).await;
                Err(error)
            }
        }
    }

    /// Removes volumes that were made for a container that is not made.
    pub async fn take_volumes_back(&self, made: Made) {
        let _change = self.volumes.change.lock().await;
        self.take_back_locked(made).await;
    }

    async fn take_back_locked(&self, made: Made) {
        for (name, _) in made.0 {
            // Another container may have it by now.
            if self.user_of(&name).is_some() {
                continue;
            }
            if let Err(error) = self.volumes.remove(&name, Patience::None).await {
                tracing::warn!("{error:#}");
            }
        }
    }

    /// Removes the volumes that were made for mounts of `entry`, which is gone, without a name, and that no other container has. One that
    /// was named when the container was created stays, whoever made it.
    pub async fn remove_anonymous_volumes(&self, entry: &Entry) {
        let Some(configuration) = entry.readable() else {
            return;
        };
        for mount in &configuration.mounts {
            if let MountKind::Volume {
                name,
                anonymous: true,
                ..
            } = &mount.kind
            {
                self.remove_anonymous_volume(name).await;
            }
        }
    }

    /// Removes the volume `name` where nobody has named it and no container has it. The machine that had it may still be about to go.
    async fn remove_anonymous_volume(&self, name: &str) {
        let is_left = || {
            let configuration = self.volumes.read(name);
            configuration.is_ok_and(|asked| asked.is_anonymous()) && self.user_of(name).is_none()
        };
        if !is_left() {
            return;
        }
        // Others wait for the change meanwhile, so its machine is waited for before.
        let free = self.volumes.lock(name, Company::None, Patience::Long).await;
        if let Err(error) = free.map(drop) {
            return tracing::warn!("{error:#}");
        }
        let _change = self.volumes.change.lock().await;
        if is_left()
            && let Err(error) = self.volumes.remove(name, Patience::Usual).await
        {
            tracing::warn!("{error:#}");
        }
    }
}

fn has(entry: &Entry, name: &str) -> bool {
    let configuration = entry.readable();
    let mounts = configuration
        .iter()
        .flat_map(|configuration| &configuration.mounts);
    mounts
        .filter_map(|mount| mount.volume())
        .any(|volume| volume == name)
}
