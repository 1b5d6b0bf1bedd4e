//! Container machines: a machine is a container that has an init, its user's account and a name of its own.

mod agent;
mod clone;
mod default;
mod disk;
mod snapshot;
mod user;
mod virtualization;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use container_api::roots::Roots;
use container_api::{Error, Kind};
use container_resource::container::ContainerConfiguration;
use container_resource::machine::{Change, INIT, MachineResource, MissingMachine, check_name};

use crate::containers::{Containers, Entry};
use crate::disk_usage;
use default::Default;

/// Every machine of the system.
#[derive(Debug)]
pub struct Machines {
    containers: Arc<Containers>,
    default: Default,
    /// Held while one is made or deleted: names are taken one after the other.
    change: tokio::sync::Mutex<()>,
    /// By container, the run in which its user was last made known; each held while that is done.
    known: Mutex<HashMap<String, Arc<tokio::sync::Mutex<String>>>>,
}

impl Machines {
    /// Those among `containers`.
    pub fn new(roots: &Roots, containers: Arc<Containers>) -> Self {
        Self {
            containers,
            default: Default::new(roots.default_machine()),
            change: tokio::sync::Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// Removes what an earlier apiserver left half-way.
    pub fn sweep(&self) {
        for entry in self.containers.all() {
            if let Err(error) = disk::sweep(&entry.bundle) {
                let id = &entry.id;
                tracing::warn!("container {id}: cannot tidy the snapshots: {error:#}");
            }
        }
    }

    /// Makes the machine of `configuration`, which has a part for it.
    ///
    /// # Errors
    /// When its name is invalid or taken, its image has no init, or its container cannot be made.
    pub async fn create(
        &self,
        configuration: ContainerConfiguration,
        set_default: bool,
    ) -> Result<(), Error> {
        let invalid = |text: String| Error::new(Kind::InvalidArgument, text);
        let machine = configuration
            .machine
            .as_ref()
            .ok_or_else(|| invalid("the configuration is no machine's".to_owned()))?;
        check_name(&machine.id).map_err(invalid)?;
        let name = machine.id.clone();
        let (id, image) = (
            configuration.id.clone(),
            configuration.image.reference.clone(),
        );
        let _change = self.change.lock().await;
        self.check_free(&name)?;
        self.containers.begin(configuration).await?;
        let checked = match self.containers.has_init(&id).await {
            Ok(true) => self.containers.finish(&id),
            Ok(false) => {
                let text = format!("image {image} has no {INIT}: a machine cannot boot it");
                Err(Error::new(Kind::InvalidArgument, text).with_hint(
                    "Take an image with an init, such as one with systemd. `container run` needs none.".to_owned(),
                ))
            }
            Err(error) => Err(error),
        };
        if let Err(error) = checked {
            self.discard(&id).await;
            return Err(error);
        }
        if set_default || self.default().is_none() {
            self.default.set(&name)?;
        }
        Ok(())
    }

    /// All of them, by name.
    pub fn list(&self) -> Vec<MachineResource> {
        let default = self.default();
        let all = self.containers.all();
        let mut machines: Vec<_> = all
            .iter()
            .filter_map(|entry| resource(entry, default.as_deref()))
            .collect();
        machines.sort_by(|a, b| a.id.cmp(&b.id));
        machines
    }

    /// Starts the machine `id`, unless it runs, and makes its user known in it. The SSH agent that it reaches is the one at
    /// `ssh_agent` from now on, unless that is empty. Gives it with what is odd of it.
    ///
    /// # Errors
    /// When there is none, it does not start, or its user could not be made known.
    pub async fn boot(
        &self,
        id: &str,
        ssh_agent: &str,
    ) -> Result<(MachineResource, Vec<String>), Error> {
        let name = self.name(id)?;
        let entry = self.find(&name)?;
        self.containers.follow_plan(&entry.id).await?;
        let entry = self.find(&name)?;
        let agent = agent::link(&entry, ssh_agent)?;
        let started = self
            .containers
            .start(&entry.id, Some(Some(agent)), None)
            .await?;
        let known = self.known(&entry.id);
        let mut run = known.lock().await;
        if *run != started.run {
            user::introduce(&self.containers, &entry.id).await?;
            *run = started.run;
        }
        // The plan made another entry of it, perhaps.
        let entry = self.find(&name)?;
        let default = self.default();
        let machine = resource(&entry, default.as_deref()).ok_or_else(|| not_found(&name))?;
        Ok((machine, started.warnings))
    }

    /// Changes the machine `id` from its next boot on. Gives its name, and whether it runs.
    ///
    /// # Errors
    /// When there is none, or it cannot have a value: the host's machines cannot run virtual machines, or the user has no home.
    pub async fn set(&self, id: &str, changes: &[Change]) -> Result<(String, bool), Error> {
        let name = self.name(id)?;
        let entry = self.find(&name)?;
        // Not at the next boot, when nobody remembers it.
        if changes.contains(&Change::Virtualization(true)) {
            virtualization::check(&self.containers.roots).await?;
        }
        let change = |configuration: &mut ContainerConfiguration| {
            for change in changes {
                change
                    .apply(configuration)
                    .map_err(|error| Error::caused(Kind::InvalidArgument, error))?;
            }
            Ok(())
        };
        self.containers.plan(&entry.id, change).await?;
        Ok((name, entry.is_active()))
    }

    /// Has the machine `id` meant where none is named.
    ///
    /// # Errors
    /// When there is none, or it cannot be stored.
    pub fn set_default(&self, id: &str) -> Result<(), Error> {
        self.find(id)?;
        self.default.set(id)
    }

    /// Deletes the machine `id` with its disk; a running one only where `force` is set. Gives the bytes freed.
    ///
    /// # Errors
    /// When there is none, or it runs.
    pub async fn delete(&self, id: &str, force: bool) -> Result<u64, Error> {
        let _change = self.change.lock().await;
        let entry = self.find(id)?;
        if entry.is_active() && !force {
            return Err(
                Error::new(Kind::InvalidState, format!("machine {id} is running")).with_hint(
                    format!("Stop it first: `container machine stop {id}`, or use --force."),
                ),
            );
        }
        let freed = self.containers.delete_any(&entry.id, force, true).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&entry.id);
        if self.default.get().as_deref() == Some(id) {
            self.default.clear()?;
        }
        Ok(freed)
    }

    /// Removes the container `id`, which is not finished.
    async fn discard(&self, id: &str) {
        if let Err(left) = self.containers.delete_any(id, true, true).await {
            tracing::warn!(
                "what was made of container {id} is left until the next start: {left:#}"
            );
        }
    }

    /// Whether no machine has the name. The caller holds [`Self::change`].
    fn check_free(&self, name: &str) -> Result<(), Error> {
        match self.find(name) {
            Err(_) => Ok(()),
            Ok(_) => Err(Error::new(
                Kind::Exists,
                format!("machine already exists: {name}"),
            )),
        }
    }

    /// The machine that is meant where none is named. One that is gone does not count.
    fn default(&self) -> Option<String> {
        self.default.get().filter(|name| self.find(name).is_ok())
    }

    fn known(&self, container: &str) -> Arc<tokio::sync::Mutex<String>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(container.to_owned()).or_default().clone()
    }

    /// The name that `id` stands for.
    fn name(&self, id: &str) -> Result<String, Error> {
        if !id.is_empty() {
            return Ok(id.to_owned());
        }
        self.default()
            .ok_or_else(|| missing(MissingMachine::Default))
    }

    fn find(&self, name: &str) -> Result<Arc<Entry>, Error> {
        let is_it = |entry: &Arc<Entry>| {
            let configuration = entry.readable();
            let machine = configuration.as_ref().and_then(|c| c.machine.as_ref());
            machine.is_some_and(|machine| machine.id == name) && !is_unfinished(entry)
        };
        let mut all = self.containers.all().into_iter();
        all.find(is_it).ok_or_else(|| not_found(name))
    }
}

/// Whether `entry` is no machine yet: it is being made.
fn is_unfinished(entry: &Entry) -> bool {
    entry.bundle.unfinished().exists()
}

/// The machine of a container, if it is one.
fn resource(entry: &Entry, default: Option<&str>) -> Option<MachineResource> {
    entry.readable()?.machine.as_ref()?;
    if is_unfinished(entry) {
        return None;
    }
    let disk = disk_usage::allocated(entry.bundle.directory());
    MachineResource::of(entry.planned(), default, disk)
}

fn not_found(name: &str) -> Error {
    missing(MissingMachine::Named(name.to_owned()))
}

fn missing(which: MissingMachine) -> Error {
    let hint = which.hint();
    Error::caused(Kind::NotFound, which).with_hint(hint)
}
