//! `rename`: another name for a container at rest.

use std::collections::HashMap;
use std::sync::Arc;

use container_api::{Error, Kind};
use container_resource::bundle::{self, Bundle};

use super::create::kind;
use super::{Containers, Entry};

impl Containers {
    /// Gives the stopped container `id` the name `new_id`.
    pub async fn rename(&self, id: &str, new_id: &str) -> Result<(), Error> {
        container_resource::name::validate(new_id)
            .map_err(|error| Error::chain(Kind::InvalidArgument, &error))?;
        let entry = self.get(id)?;
        let _operation = entry.operation.lock().await;
        if entry.is_active() {
            return Err(
                Error::new(Kind::InvalidState, format!("container {id} is running"))
                    .with_hint(format!("Stop it first: `container stop {id}`.")),
            );
        }
        let mut configuration = entry.configuration()?.clone();
        new_id.clone_into(&mut configuration.id);
        let bundle = Bundle::new(self.roots.containers().join(new_id));
        let renamed = Arc::new(Entry::new(
            new_id.to_owned(),
            bundle.clone(),
            Some(configuration.clone()),
            entry.options.clone(),
        ));
        renamed.status.send_replace(entry.status.borrow().clone());
        renamed.run.send_replace(entry.run.borrow().clone());
        let _new_operation = renamed.operation.lock().await;
        self.reserve(renamed.clone())?;
        // The images are held by name.
        let held = self.images.prepare_roots(&configuration, new_id).await;
        if let Err(error) = held {
            self.release(&renamed);
            return Err(error.context(format_args!("rename container {id}")));
        }
        let moved = std::fs::rename(entry.bundle.directory(), bundle.directory())
            .and_then(|()| bundle::write_json(&bundle.configuration(), &configuration));
        if let Err(error) = moved {
            // Undone as far as it was done: the directory is back, or was never moved.
            let _ = std::fs::rename(bundle.directory(), entry.bundle.directory());
            self.release(&renamed);
            return Err(
                Error::chain(kind(&error), &error).context(format_args!("rename container {id}"))
            );
        }
        self.release(&entry);
        self.events.tell(
            "rename",
            new_id,
            HashMap::from([("oldId".to_owned(), id.to_owned())]),
        );
        Ok(())
    }
}
