//! The containers of the system: one [`Entry`] each, locked one by one, so that a slow boot delays nobody else.

mod absent_mounts;
mod archive;
mod attach;
mod bundles;
mod clearing;
mod create;
mod delete;
mod departed;
mod entry;
mod exec;
mod follow;
mod guest;
mod health;
mod helper;
mod hold;
mod load;
mod lost_links;
mod machine;
mod membership;
mod pause;
mod power_off;
mod process;
mod rename;
mod restart;
mod room;
mod running_networks;
mod signal;
mod start;
mod statistics;
mod stop;
mod transient;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, PoisonError};

use container_api::descriptors::Descriptors;
use container_api::roots::Roots;
use container_api::{Error, Kind, types};
use container_resource::bundle::Exit;
use container_resource::container::ManagedContainer;
#[cfg(test)]
use container_resource::settings::NetworkSettings;
use container_resource::settings::VmmConfinement;

pub(crate) use archive::{operate, words};
use clearing::Clearing;
pub use create::kind;
use departed::Departed;
pub use entry::{Agent, Entry};
pub(crate) use helper::Helper;
pub use helper::Lent;
pub(crate) use hold::{copy_held, copy_watched};
pub use start::Started;
pub(crate) use transient::Transient;

use crate::events::Events;
use crate::images::Images;
use crate::networks::Networks;
use crate::reserve::Reserve;
use crate::standby::Standby;
use crate::templates::Templates;
use crate::volumes::Volumes;

/// Every container of the system.
#[derive(Debug)]
pub struct Containers {
    pub(crate) roots: Roots,
    images: Images,
    networks: Arc<Networks>,
    descriptors: Descriptors,
    templates: Templates,
    standby: Standby,
    pub(crate) vmm_confinement: VmmConfinement,
    debug: bool,
    /// What happens to them.
    pub events: Events,
    entries: Mutex<BTreeMap<String, Arc<Entry>>>,
    departed: Departed,
    /// The system ends: no policy starts anything any more.
    ending: AtomicBool,
    /// Starts that failed since this process began.
    pub failed_starts: AtomicU32,
    /// What is cleared away after containers that are gone.
    clearing: Clearing,
    /// Space that stays free.
    pub reserve: Reserve,
    /// Disks that outlive them.
    pub volumes: Volumes,
}

/// What must hold of the host before a machine starts on it.
#[derive(Debug)]
pub struct Conditions {
    /// Space that stays free.
    pub reserve: Reserve,
    /// Whether its VMM must be confined.
    pub vmm_confinement: VmmConfinement,
}

/// What containers are made with.
#[derive(Debug)]
pub struct Parts {
    /// Their roots.
    pub images: Images,
    /// Where they are connected.
    pub networks: Arc<Networks>,
    /// Saved machines.
    pub templates: Templates,
    /// The machine that waits.
    pub standby: Standby,
}

impl Containers {
    /// No containers yet: see [`Self::load`].
    pub fn new(
        roots: Roots,
        Parts {
            images,
            networks,
            templates,
            standby,
        }: Parts,
        descriptors: Descriptors,
        Conditions {
            reserve,
            vmm_confinement,
        }: Conditions,
        debug: bool,
    ) -> Self {
        Self {
            volumes: Volumes::new(roots.volumes()),
            roots,
            images,
            networks,
            templates,
            standby,
            descriptors,
            vmm_confinement,
            debug,
            events: Events::new(),
            entries: Mutex::default(),
            departed: Departed::default(),
            ending: AtomicBool::new(false),
            failed_starts: AtomicU32::new(0),
            clearing: Clearing::default(),
            reserve,
        }
    }

    /// Those of an apiserver that serves nothing yet.
    #[cfg(test)]
    pub fn idle(roots: &Roots) -> Arc<Self> {
        let networks = Networks::new(roots, NetworkSettings::default(), false);
        let standby = Standby::new(roots, &networks, false, false);
        Arc::new(Self::new(
            roots.clone(),
            Parts {
                images: Images::new(roots.clone(), false),
                templates: Templates::new(roots, &networks, standby.clone()),
                networks,
                standby,
            },
            Descriptors::default(),
            Conditions {
                reserve: Reserve::new(roots.app.clone(), 0),
                vmm_confinement: VmmConfinement::Required,
            },
            false,
        ))
    }

    /// The container `id`.
    pub fn get(&self, id: &str) -> Result<Arc<Entry>, Error> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(id).cloned().ok_or_else(|| not_found(id))
    }

    /// Those of `ids` that exist; all where `ids` is empty.
    pub fn list(&self, ids: &[String]) -> Vec<ManagedContainer> {
        self.all()
            .iter()
            .filter(|entry| ids.is_empty() || ids.contains(&entry.id))
            .map(|entry| entry.managed())
            .collect()
    }

    /// Every entry, by id.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// How `run` of the container `id` ends, or has ended. Without a `run`, the present one or the last.
    pub async fn ended(&self, id: &str, run: &str) -> Result<Exit, Error> {
        if let Some(exit) = self.departed.find(run) {
            return Ok(exit);
        }
        self.get(id)?.ended().await
    }

    /// Waits until everything is cleared away.
    pub async fn cleared(&self) {
        self.clearing.done().await;
    }

    /// Takes the streams that a client has handed over.
    pub fn lent(&self, stdio: Option<types::Stdio>) -> Result<Option<Lent>, Error> {
        Lent::take(&self.descriptors, stdio)
    }

    /// Whether `entry` has not been deleted or renamed: its bundle is another's then.
    fn is_current(&self, entry: &Arc<Entry>) -> bool {
        self.get(&entry.id)
            .is_ok_and(|current| Arc::ptr_eq(&current, entry))
    }

    /// Takes the name of `entry`, if it is free.
    fn reserve(&self, entry: Arc<Entry>) -> Result<(), Error> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.contains_key(&entry.id) {
            return Err(Error::new(
                Kind::Exists,
                format!("container already exists: {}", entry.id),
            ));
        }
        entries.insert(entry.id.clone(), entry);
        Ok(())
    }

    /// Puts `entry` in the place of the one with its name.
    fn replace(&self, entry: Arc<Entry>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.insert(entry.id.clone(), entry);
    }

    /// Frees the name of `entry`, unless another one has it by now.
    fn release(&self, entry: &Arc<Entry>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries
            .get(&entry.id)
            .is_some_and(|current| Arc::ptr_eq(current, entry))
        {
            entries.remove(&entry.id);
        }
        entry.no_restart();
        self.images.departed();
    }
}

fn not_found(id: &str) -> Error {
    Error::new(Kind::NotFound, format!("container not found: {id}"))
}
