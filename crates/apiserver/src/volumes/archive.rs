//! Operations on a volume's files, whoever has it.
//!
//! One that a container writes to is reached in that container's machine, as only one machine may have it; one that nobody writes to in a
//! machine of its own. The host reads no file system that a guest has written to.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use container_api::{Error, Kind};
use container_archive::operation::{Operation, Subject, Task};
use container_files::Links;
use container_resource::volume::VolumeRequest;

use super::machine::copy_of;
use crate::containers::{Containers, Entry, Helper, Lent, Transient, copy_held, operate, words};

/// The number of the only volume that a machine of ours has.
const ONLY: Subject = Subject::Volume(0);

impl Containers {
    /// Does what `asked` says with the files of the volume `name`, with the client's streams; gives the exit code. `create`: a volume
    /// that is not there is made as this asks, and is there when the operation has succeeded.
    ///
    /// # Errors
    /// [`Kind::InvalidState`] where others have the volume in a way that forbids it.
    pub async fn archive_volume(
        self: &Arc<Self>,
        name: &str,
        asked: &[Bytes],
        create: Option<VolumeRequest>,
        lent: Option<Lent>,
    ) -> Result<i32, Error> {
        let operation = Operation::parse(asked)
            .filter(|operation| operation.fits_volumes() && *operation != Operation::Hold)
            .ok_or_else(|| Error::new(Kind::InvalidArgument, "no operation on a volume"))?;
        match (self.volumes.get(name), create) {
            (Err(error), Some(request)) if error.kind == Kind::NotFound => {
                return self.fill_new(name, request, operation, lent).await;
            }
            (Ok(_), Some(request)) if !request.labels.is_empty() || !request.options.is_empty() => {
                let text = format!("volume {name} exists: its size, labels and options stay");
                return Err(Error::new(Kind::Exists, text));
            }
            (found, _) => found?,
        };
        let disk = self.volumes.disk(name);
        if let Some((entry, helper, subject)) = self.writer_of(name) {
            if operation.wants_standstill() {
                self.reserve.check_for(self.volumes.allocated(name))?;
                let writer = Some((&*entry, &helper, subject));
                return self.with_copy(name, writer, operation, lent).await;
            }
            let task = Task { subject, operation };
            return operate(&helper, words(&task), lent).await;
        }
        // With room for a copy, who wants to write to it does not wait for the reader of the archive. A copy where the host's file system
        // tells of no holes would take longer than that.
        let has_room = || self.reserve.check_for(self.volumes.allocated(name)).is_ok();
        let tells = || {
            let opened = container_files::open(&disk, Links::Refuse);
            opened.is_ok_and(|disk| container_files::tells_of_holes(&disk).unwrap_or(true))
        };
        if operation.wants_standstill() && has_room() && tells() {
            return self.with_copy(name, None, operation, lent).await;
        }
        self.in_own_machine(name, &disk, operation, lent).await
    }

    /// The volume `name` is made, and has its name when the operation has succeeded.
    async fn fill_new(
        &self,
        name: &str,
        request: VolumeRequest,
        operation: Operation,
        lent: Option<Lent>,
    ) -> Result<i32, Error> {
        self.reserve.check()?;
        let request = VolumeRequest {
            name: name.to_owned(),
            ..request
        };
        let unfinished = {
            let _change = self.volumes.change.lock().await;
            self.volumes.begin(request)?
        };
        let disk = unfinished.disk();
        let code = self.in_own_machine(name, &disk, operation, lent).await?;
        if code == 0 {
            let _change = self.volumes.change.lock().await;
            self.volumes.keep(&unfinished)?;
        }
        Ok(code)
    }

    /// Does it in a machine that has the volume for as long as that takes.
    async fn in_own_machine(
        &self,
        name: &str,
        disk: &Path,
        operation: Operation,
        lent: Option<Lent>,
    ) -> Result<i32, Error> {
        let transient = self
            .volume_machine(name, Some(disk), !operation.writes())
            .await?;
        let done = self.run(&transient, operation, lent).await;
        self.remove_transient(transient.bundle().directory());
        done
    }

    /// Does it with a copy: whoever writes to the volume, or wants to, waits only while the copy is made.
    async fn with_copy(
        &self,
        name: &str,
        writer: Option<(&Entry, &Helper, Subject)>,
        operation: Operation,
        lent: Option<Lent>,
    ) -> Result<i32, Error> {
        let disk = self.volumes.disk(name);
        let transient = self.volume_machine(name, None, true).await?;
        let copy = copy_of(transient.bundle());
        let copied = match writer {
            Some((entry, helper, subject)) => copy_held(entry, helper, subject, &disk, &copy).await,
            None => self.volumes.copy(name, &copy).await,
        };
        let done = match copied {
            Ok(()) => self.run(&transient, operation, lent).await,
            Err(error) => Err(error.context(format_args!("copy the volume {name}"))),
        };
        self.remove_transient(transient.bundle().directory());
        done
    }

    /// Does it with the only volume of `transient`.
    async fn run(
        &self,
        transient: &Transient,
        operation: Operation,
        lent: Option<Lent>,
    ) -> Result<i32, Error> {
        let task = Task {
            subject: ONLY,
            operation,
        };
        self.run_transient(transient, words(&task), lent).await
    }

    /// The container that may write to the volume `name`, its machine, and which of its volumes it is.
    fn writer_of(&self, name: &str) -> Option<(Arc<Entry>, Helper, Subject)> {
        self.all().into_iter().find_map(|entry| {
            let configuration = entry.readable()?;
            let mounts = configuration.mounts.iter();
            let mut own = mounts.filter(|mount| mount.volume() == Some(name));
            let writes = own.any(|mount| !mount.is_read_only());
            if !writes || !entry.is_active() {
                return None;
            }
            let all = configuration.volumes();
            let number = all.iter().position(|volume| *volume == name)?;
            let subject = Subject::Volume(number.try_into().ok()?);
            let helper = entry.helper().ok()?;
            Some((entry, helper, subject))
        })
    }
}
