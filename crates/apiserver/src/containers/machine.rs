//! What the machines need of the containers that they are.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use container_api::{Error, Kind};
use container_archive::operation::{Operation, Subject};
use container_resource::bundle::{self, Bundle};
use container_resource::container::{ContainerConfiguration, CreateOptions, ManagedContainer};
use container_resource::machine::INIT;

use super::archive::running;
use super::create::{Progress, kind};
use super::hold::copy_held;
use super::{Containers, Entry, not_found};
use crate::thread::on_thread;

impl Containers {
    /// Makes a container that does not count before [`Self::finish`]: what is left of it goes with this process, or with the next
    /// one's start.
    pub async fn begin(&self, configuration: ContainerConfiguration) -> Result<(), Error> {
        let options = CreateOptions::default();
        let made = self.create_as(configuration, options, Progress::Unfinished);
        made.await.map(drop)
    }

    /// Makes the container `id` one.
    pub fn finish(&self, id: &str) -> Result<(), Error> {
        let bundle = &self.get(id)?.bundle;
        let failed =
            |error: io::Error| Error::caused(kind(&error), error).context("keep what was made");
        std::fs::remove_file(bundle.unfinished()).map_err(failed)?;
        let directory = std::fs::File::open(bundle.directory()).map_err(failed)?;
        directory.sync_all().map_err(failed)
    }

    /// Copies the disk of the container `id`, which runs, as it is at one moment, to `to`. The container stands still for as long
    /// as that takes. False: it does not run.
    pub async fn copy_running(&self, id: &str, to: &Path) -> Result<bool, Error> {
        let entry = self.get(id)?;
        let Some(helper) = running(&entry) else {
            return Ok(false);
        };
        let upper = entry.bundle.upper();
        copy_held(&entry, &helper, Subject::Root, &upper, to).await?;
        Ok(true)
    }

    /// Whether the container `id` has an init.
    pub async fn has_init(self: &Arc<Self>, id: &str) -> Result<bool, Error> {
        let read = Operation::Read { path: INIT.into() };
        let words = read.words().into_iter().map(Bytes::from).collect();
        Ok(self.archive(id, words, None).await? == 0)
    }

    /// Does `work` with the bundle of the container `id`, which does not run and is not started meanwhile.
    pub async fn with_bundle<T: Send + 'static>(
        &self,
        id: &str,
        work: impl FnOnce(&Bundle) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let entry = self.get(id)?;
        let operation = entry.operation.clone().lock_owned().await;
        if !self.is_current(&entry) {
            return Err(not_found(id));
        }
        if entry.is_active() || entry.is_restarting() {
            return Err(Error::new(Kind::InvalidState, "it is running".to_owned()));
        }
        let bundle = entry.bundle.clone();
        let work = move || {
            let outcome = work(&bundle);
            // It may be started from here on.
            drop(operation);
            outcome
        };
        let outcome = on_thread("disk", work).await.and_then(|outcome| outcome);
        outcome.map_err(|error| Error::caused(kind(&error), error))
    }

    /// Whether the container `id` is nobody else's: that of a machine goes with the machine alone.
    ///
    /// # Errors
    /// When it is a machine's.
    pub(super) fn check_own(&self, id: &str) -> Result<(), Error> {
        let entry = self.get(id).ok();
        let configuration = entry.and_then(|entry| entry.readable());
        let Some(machine) = configuration
            .as_ref()
            .and_then(|known| known.machine.as_ref())
        else {
            return Ok(());
        };
        let text = format!("container {id} is that of machine {}", machine.id);
        let hint = format!(
            "`container machine delete {}` deletes the machine.",
            machine.id
        );
        Err(Error::new(Kind::InvalidState, text).with_hint(hint))
    }

    /// Changes what a machine's container is to be from its next boot on.
    pub async fn plan(
        &self,
        id: &str,
        change: impl FnOnce(&mut ContainerConfiguration) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let entry = self.get(id)?;
        let _operation = entry.operation.lock().await;
        if !self.is_current(&entry) {
            return Err(not_found(id));
        }
        let mut configuration = entry.planned().configuration;
        change(&mut configuration)?;
        if !entry.is_active() && !entry.is_restarting() {
            return self.exchange(&entry, configuration);
        }
        bundle::write_json(&entry.bundle.configuration(), &configuration)
            .map_err(|error| Error::caused(kind(&error), error).context("store the change"))
    }

    /// Makes the container `id`, unless it runs, what it was planned to be.
    pub async fn follow_plan(&self, id: &str) -> Result<(), Error> {
        let entry = self.get(id)?;
        let _operation = entry.operation.lock().await;
        if !self.is_current(&entry) || entry.is_active() || entry.is_restarting() {
            return Ok(());
        }
        let planned = entry.planned().configuration;
        if planned.id != entry.id {
            let text = format!("the bundle of container {id} is another's");
            return Err(Error::new(Kind::InvalidState, text));
        }
        if *entry.configuration()? == planned {
            return Ok(());
        }
        self.exchange(&entry, planned)
    }
}

impl Entry {
    /// The container of a machine, as it will be when it is next booted.
    pub fn planned(&self) -> ManagedContainer {
        let mut container = self.managed();
        if let Ok(configuration) = bundle::read_json(&self.bundle.configuration()) {
            container.configuration = configuration;
        }
        container
    }
}
