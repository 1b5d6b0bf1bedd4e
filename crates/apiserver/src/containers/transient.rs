//! Machines that live for one operation: on a copy of a container's disk, or on a volume that no container has.
//!
//! Such a machine has a bundle of its own beside those of containers. It is in no list, and nothing of it is kept.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use container_api::roots::{create_private, restore_private};
use container_api::{Error, Kind};
use container_resource::bundle::{self, Boot, Bundle};
use container_resource::container::{ContainerConfiguration, CreateOptions};
use futures::future::BoxFuture;

use super::archive::{end_machine, operate};
use super::create::kind;
use super::helper::{Helper, Lent};
use super::{Containers, Entry, bundles};

/// A bundle that goes with its operation. What its machine writes is on its disks when [`Containers::run_transient`] has
/// answered.
#[derive(Debug)]
pub struct Transient(Arc<Entry>);

impl Transient {
    /// Its directory.
    pub fn bundle(&self) -> &Bundle {
        &self.0.bundle
    }
}

impl Containers {
    /// Makes the bundle; `furnish` gives what the machine is like, and boots from, for its directory.
    pub(crate) fn make_transient(
        &self,
        options: CreateOptions,
        furnish: impl FnOnce(&Bundle) -> Result<(ContainerConfiguration, Boot), Error>,
    ) -> Result<Transient, Error> {
        // Names the file system that is full, and says what to do.
        self.reserve.check_start()?;
        let id = uuid::Uuid::new_v4().to_string();
        let bundle = Bundle::new(self.roots.transient().join(&id));
        let failed = |error: std::io::Error| {
            Error::caused(kind(&error), error).context("make the bundle of a machine for files")
        };
        restore_private(&self.roots.transient())
            .and_then(|()| create_private(bundle.directory()))
            .map_err(failed)?;
        let made = furnish(&bundle).and_then(|(configuration, boot)| {
            let configuration = ContainerConfiguration {
                id: id.clone(),
                ..configuration
            };
            bundle::write_json(&bundle.boot(), &boot)
                .and_then(|()| bundles::create(&bundle, &configuration, &options))
                .map_err(failed)?;
            Ok(configuration)
        });
        match made {
            Ok(configuration) => {
                let entry = Entry::new(id, bundle, Some(configuration), options);
                Ok(Transient(Arc::new(entry)))
            }
            Err(error) => {
                self.remove_transient(bundle.directory());
                Err(error)
            }
        }
    }

    /// Starts the machine, does what `words` ask for, and ends it.
    pub(crate) async fn run_transient(
        &self,
        transient: &Transient,
        words: Vec<Bytes>,
        lent: Option<Lent>,
    ) -> Result<i32, Error> {
        let entry = &transient.0;
        let helper = self.boot_transient(entry).await?;
        let done = operate(&helper, words, lent).await;
        let ended = end_machine(entry, &helper).await;
        let code = done?;
        ended?;
        Ok(code)
    }

    /// Starts the machine, which mounts its disks, and ends it.
    pub(crate) fn run_nothing<'a>(
        &'a self,
        transient: &'a Transient,
    ) -> BoxFuture<'a, Result<(), Error>> {
        // Boxed: the start of another machine may need it, and its own start is one.
        Box::pin(async {
            let helper = self.boot_transient(&transient.0).await?;
            end_machine(&transient.0, &helper).await
        })
    }

    async fn boot_transient(&self, entry: &Entry) -> Result<Helper, Error> {
        let booted = self.boot_for_files(entry).await;
        booted.map_err(|error| match error.kind {
            // Another one has the volume: what was to be done with it does not matter.
            Kind::InvalidState => error,
            _ => error.context("start a machine for the files"),
        })
    }

    /// Removes a bundle behind everything else, with whatever machine it has.
    pub(crate) fn remove_transient(&self, directory: &Path) {
        self.clearing.remove(directory.to_owned(), Duration::ZERO);
    }

    /// Removes what an earlier apiserver left: nobody waits for it any more.
    pub(super) fn sweep_transient(&self) -> std::io::Result<()> {
        restore_private(&self.roots.transient())?;
        for entry in std::fs::read_dir(self.roots.transient())? {
            self.remove_transient(&entry?.path());
        }
        Ok(())
    }

    /// A machine with the image of `entry` and none of its disks, networks or mounts: its writable layer is to be put into the
    /// bundle.
    pub(super) fn transient_like(&self, entry: &Entry) -> Result<Transient, Error> {
        let options = CreateOptions {
            no_template: entry.options.no_template,
            ..CreateOptions::default()
        };
        self.make_transient(options, |_| {
            let boot = bundle::read_json(&entry.bundle.boot())
                .map_err(|error| Error::caused(Kind::Internal, error).context("read boot.json"))?;
            let configuration = ContainerConfiguration {
                mounts: Vec::new(),
                networks: Vec::new(),
                published_ports: Vec::new(),
                ..(*entry.configuration()?).clone()
            };
            Ok((configuration, boot))
        })
    }
}
