//! `delete`: the name is free at once, the disk soon after.

use std::sync::Arc;
use std::time::Duration;

use container_api::{Error, Kind};
use container_resource::event::Action;

use super::entry::{Kill, Run};
use super::helper::end_holder;
use super::{Containers, Entry, bundles};
use crate::disk_usage;

impl Containers {
    /// Deletes the container `id`, which is no machine's; a running one only where `force` is set. Gives the bytes freed.
    /// Its anonymous `volumes` go with it, as those of a container that deletes itself.
    pub async fn delete(
        self: &Arc<Self>,
        id: &str,
        force: bool,
        volumes: bool,
    ) -> Result<u64, Error> {
        self.check_own(id)?;
        self.delete_any(id, force, volumes).await
    }

    /// The same, also of a machine's.
    pub async fn delete_any(
        self: &Arc<Self>,
        id: &str,
        force: bool,
        volumes: bool,
    ) -> Result<u64, Error> {
        let entry = self.get(id)?;
        if force {
            // Its restart policy must not bring it back meanwhile.
            entry.stop_by_hand(true);
        }
        let operation = if (entry.is_active() || entry.is_restarting()) && !force {
            return Err(not_stopped(id));
        } else if force {
            // A start that is under way is cut short rather than waited for.
            if let Ok(helper) = entry.helper() {
                entry.kills(Kill::Deleted);
                helper.kill().await.map_err(|error| failed(id, error))?;
            }
            // Somebody may work on its files.
            if let Ok(Some(opened)) = entry.opened.try_lock().as_deref() {
                let killed = opened.kill().await;
                killed.map_err(|error| failed(id, error))?;
            }
            entry.operation.lock().await
        } else {
            entry.operation.lock().await
        };
        if entry.is_active() {
            if !force {
                return Err(not_stopped(id));
            }
            if let Ok(helper) = entry.helper() {
                entry.kills(Kill::Deleted);
                helper.kill().await.map_err(|error| failed(id, error))?;
            }
            // Its follower has seen the end, and may have removed it.
            let _ = entry.ended().await;
        }
        if let Run::Ended(exit) = &*entry.run.borrow() {
            // Whoever has seen it run may ask for its end a little later.
            self.departed.add(entry.run_name(), exit.clone());
        }
        // Another request may have deleted it while this one waited.
        if !self.is_current(&entry) {
            return Ok(0);
        }
        if entry.readable().is_none() {
            // What nobody could look into cannot be removed either.
            bundles::open_up(&entry.bundle).map_err(|error| failed(id, error))?;
        }
        // A damaged bundle may have a helper that nobody could connect to.
        end_holder(&entry.bundle.lock())
            .await
            .map_err(|error| failed(id, error))?;
        let trash =
            bundles::detach(&self.roots, &entry.bundle).map_err(|error| failed(id, error))?;
        self.networks.leave(&entry.id);
        self.release(&entry);
        drop(operation);
        if volumes || entry.options.auto_remove {
            self.remove_anonymous_volumes(&entry).await;
        }
        self.events.tell(Action::Delete, id, []);
        let removal = disk_usage::remove(trash.clone());
        let (removed, ()) = tokio::join!(removal, self.images.drop_leases_soon());
        match removed {
            Ok(freed) => Ok(freed),
            Err(error) => {
                self.clearing.remove(trash, Duration::ZERO);
                let text = format!("container {id} is deleted, its files are not yet");
                Err(Error::caused(Kind::Internal, error).context(text))
            }
        }
    }

    /// Deletes `entry`, which has ended but could not be removed at that time.
    pub fn delete_later(self: &Arc<Self>, entry: &Arc<Entry>) {
        let (containers, entry) = (self.clone(), entry.clone());
        let what = format!("remove container {}", entry.id);
        self.clearing.until_done(what, move || {
            let (containers, entry) = (containers.clone(), entry.clone());
            async move {
                // Somebody was faster, or has started it again: then its next end removes it.
                if !containers.is_current(&entry) || entry.is_active() {
                    return Ok(());
                }
                let deleted = containers.delete_any(&entry.id, false, true).await;
                deleted.map(drop).map_err(std::io::Error::other)
            }
        });
    }
}

fn not_stopped(id: &str) -> Error {
    Error::new(
        Kind::InvalidState,
        format!("container {id} is not yet stopped and cannot be deleted"),
    )
    .with_hint(format!(
        "Stop it first: `container stop {id}`, or use `container delete --force {id}`."
    ))
}

fn failed(id: &str, error: std::io::Error) -> Error {
    Error::caused(Kind::Internal, error).context(format_args!("delete container {id}"))
}
