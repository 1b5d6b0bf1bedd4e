//! Whose a volume's disk is: `flock`(2) of it, held by each machine that has it, and here by whoever changes or copies it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use container_api::{Error, Kind, lock};
use container_files::Links;
use rustix::fs::FlockOperation;

use super::Volumes;
use crate::containers::copy_watched;

/// How long to wait for a machine that has it: one whose container has deleted itself ends after that was told.
const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 2000 });
/// How long the machine of a container that is gone may take to close its volumes.
const GOING: Duration = Duration::from_secs(10);

/// With whom a disk is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    /// With nobody.
    None,
    /// With those that only read it.
    Readers,
}

/// Whether a machine that has the disk is waited for: it may be about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// One try.
    None,
    /// As long as a machine may take whose container has deleted itself.
    Usual,
    /// As long as one may take at most.
    Long,
}

impl Patience {
    const fn limit(self) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Usual => PATIENCE,
            Self::Long => GOING,
        }
    }
}

impl Volumes {
    /// Takes the disk of the volume `name` as its machines do. A container whose configuration cannot be read may run all the
    /// same, and nobody knows what it has: this does. A volume without a disk is damaged, and nobody's.
    ///
    /// # Errors
    /// [`Kind::InvalidState`] where a machine has it in a way that forbids it.
    pub(super) async fn lock(
        &self,
        name: &str,
        company: Company,
        patience: Patience,
    ) -> Result<Option<File>, Error> {
        let Ok(disk) = container_files::open(&self.disk(name), Links::Refuse) else {
            return Ok(None);
        };
        let how = match company {
            Company::None => FlockOperation::NonBlockingLockExclusive,
            Company::Readers => FlockOperation::NonBlockingLockShared,
        };
        match lock::take_file(&disk, how, patience.limit()).await {
            Ok(()) => Ok(Some(disk)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let text = format!("volume '{name}' is in use by a machine");
                Err(Error::new(Kind::InvalidState, text))
            }
            Err(error) => Err(Error::caused(Kind::Internal, error)
                .context(format_args!("lock the volume {name}"))),
        }
    }

    /// Copies the disk of the volume `name`, which nobody writes to, to `to`. A writer cannot have it meanwhile.
    ///
    /// # Errors
    /// [`Kind::InvalidState`] where a machine has it to write to, and when there is no room.
    pub(super) async fn copy(&self, name: &str, to: &Path) -> Result<(), Error> {
        let Some(_lock) = self.lock(name, Company::Readers, Patience::Usual).await? else {
            let text = format!("volume {name} has no disk");
            return Err(Error::new(Kind::InvalidState, text));
        };
        copy_watched(Duration::MAX, &self.disk(name), to, || {})
            .await
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_volume_is_a_reader_s_only_while_it_is_copied() {
        let scratch = tempfile::tempdir().unwrap();
        let volumes = Volumes::new(scratch.path().to_owned());
        let (disk, to) = (volumes.disk("v"), scratch.path().join("to"));
        assert!(
            volumes
                .lock("v", Company::None, Patience::Usual)
                .await
                .unwrap()
                .is_none()
        );
        assert!(volumes.copy("v", &to).await.is_err());
        std::fs::create_dir(disk.parent().unwrap()).unwrap();
        std::fs::write(&disk, "bytes").unwrap();
        let machine = File::open(&disk).unwrap();
        rustix::fs::flock(&machine, FlockOperation::LockExclusive).unwrap();
        let error = volumes.copy("v", &to).await.unwrap_err();
        assert_eq!(error.kind, Kind::InvalidState);
        assert!(!to.exists());
        rustix::fs::flock(&machine, FlockOperation::LockShared).unwrap();
        volumes.copy("v", &to).await.unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"bytes");
        let error = volumes
            .lock("v", Company::None, Patience::Usual)
            .await
            .unwrap_err();
        assert_eq!(error.kind, Kind::InvalidState);
        // One that is about to end is waited for.
        let (locked, ()) = tokio::join!(volumes.lock("v", Company::None, Patience::Usual), async {
            tokio::task::yield_now().await;
            rustix::fs::flock(&machine, FlockOperation::Unlock).unwrap();
        });
        drop(locked.unwrap());
        // A process that another test starts has all descriptors until it runs its program.
        let is_free = || rustix::fs::flock(&machine, FlockOperation::NonBlockingLockExclusive);
        for _ in 0..500 {
            if is_free().is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the lock of a copy that was made is held");
    }
}
