//! `rename`: another name for a container at rest.

use std::sync::Arc;

use container_api::roots::create_private;
use container_api::{Error, Kind};
use container_resource::bundle::{self, Bundle};
use container_resource::container::ContainerConfiguration;
use container_resource::event::{Action, Attribute};

use super::create::kind;
use super::{Containers, Entry, not_found};

impl Containers {
    /// Gives the stopped container `id` the name `new_id`.
    pub async fn rename(self: &Arc<Self>, id: &str, new_id: &str) -> Result<(), Error> {
        container_resource::name::validate(new_id)
            .map_err(|error| Error::caused(Kind::InvalidArgument, error))?;
        let entry = self.get(id)?;
        let _operation = entry.operation.lock().await;
        if !self.is_current(&entry) {
            return Err(not_found(id));
        }
        if entry.is_active() {
            return Err(
                Error::new(Kind::InvalidState, format!("container {id} is running"))
                    .with_hint(format!("Stop it first: `container stop {id}`.")),
            );
        }
        let mut configuration = (*entry.configuration()?).clone();
        new_id.clone_into(&mut configuration.id);
        let bundle = Bundle::new(self.roots.containers().join(new_id));
        for network in &mut configuration.networks {
            new_id.clone_into(&mut network.options.hostname);
        }
        let renamed = Arc::new(entry.successor(bundle.clone(), configuration.clone()));
        let _new_operation = renamed.operation.lock().await;
        self.reserve(renamed.clone())?;
        if let Err(error) = self.move_bundle(&entry, &bundle, &configuration).await {
            self.release(&renamed);
            return Err(error.context(format_args!("rename container {id}")));
        }
        self.networks.rename(id, &configuration).await;
        self.release(&entry);
        let attributes = [(Attribute::OldId, id.to_owned())];
        self.events.tell(Action::Rename, new_id, attributes);
        // The restart that the old name waited for is not carried out any more.
        if renamed.is_restarting() {
            let exit = renamed.ended().await?;
            self.restart(&renamed, &exit);
        }
        Ok(())
    }
    async fn move_bundle(
        &self,
        entry: &Entry,
        to: &Bundle,
        configuration: &ContainerConfiguration,
    ) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::caused(kind(&error), error);
        // The images are held by name, as long as there is a directory of that name: the bundle takes its place.
        create_private(to.directory()).map_err(failed)?;
        let held = self.images.prepare_roots(configuration, &configuration.id);
        if let Err(error) = held.await {
            let _ = std::fs::remove_dir(to.directory());
            return Err(error);
        }
        let moved = std::fs::rename(entry.bundle.directory(), to.directory())
            .and_then(|()| bundle::write_json(&to.configuration(), configuration));
        moved.map_err(|error| {
            // Undone as far as it was done: the directory is back, or was never moved.
            if std::fs::rename(to.directory(), entry.bundle.directory()).is_err() {
                let _ = std::fs::remove_dir(to.directory());
            }
            failed(error)
        })
    }
}
