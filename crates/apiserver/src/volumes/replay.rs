//! Volumes whose last writer was killed, before they are only read.
//!
//! What that writer has fsynced may be in the journal alone, and a machine that may not write to the disk cannot put it in its place:
//! without it the files are as they were some seconds earlier, or damaged. So a machine that may write mounts it first, and closes it.

use std::path::{Path, PathBuf};

use container_api::{Error, Kind};
use container_resource::container::ContainerConfiguration;

use crate::containers::Containers;

impl Containers {
    /// Has the journals replayed of the volumes that a container of `configuration` only reads.
    ///
    /// # Errors
    /// [`Kind::InvalidState`] where another container writes to one of them.
    pub(crate) async fn replay_journals(
        &self,
        configuration: &ContainerConfiguration,
    ) -> Result<(), Error> {
        for (name, disk) in not_closed(configuration) {
            self.replay_journal(&name, &disk).await?;
        }
        Ok(())
    }

    async fn replay_journal(&self, name: &str, disk: &Path) -> Result<(), Error> {
        // The machine below writes to the volume, so its own start does not come here.
        let _replay = self.volumes.replay.lock().await;
        if !container_ext4::needs_replay(disk).unwrap_or(false) {
            // Another container that only reads it had that done meanwhile.
            return Ok(());
        }
        tracing::info!("volume {name} was not closed in order: its journal is replayed");
        let transient = self.volume_machine(name, Some(disk), false).await?;
        let done = self.run_nothing(&transient).await;
        self.remove_transient(transient.bundle().directory());
        done.map_err(|error| match error.kind {
            Kind::InvalidState => error,
            _ => error.context(format_args!("replay the journal of volume {name}")),
        })
    }
}

/// Volumes that are only read, and were not closed in order: their names and disks.
fn not_closed(configuration: &ContainerConfiguration) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for name in configuration.volumes() {
        let mounts = configuration.mounts.iter();
        let mounts: Vec<_> = mounts
            .filter(|mount| mount.volume() == Some(name))
            .collect();
        let (Some(first), true) = (
            mounts.first(),
            mounts.iter().all(|mount| mount.is_read_only()),
        ) else {
            continue;
        };
        let disk = PathBuf::from(&first.source);
        // One that cannot be read is told of by who needs it.
        if container_ext4::needs_replay(&disk).unwrap_or(false) {
            found.push((name.to_owned(), disk));
        }
    }
    found
}
