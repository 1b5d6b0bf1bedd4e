//! A container, wherever it is in its life: one file for each thing that can be asked of it.

mod answer;
mod archive;
mod attach;
mod exec;
mod network;
mod pause;
mod processes;
mod room;
mod signal;
mod stage;
mod start;
mod statistics;
mod stop;
mod wait;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};

use container_api::{Error, Kind};
use container_engine::HostMemory;
use container_resource::bundle::{self, Bundle};
use container_resource::container::{ContainerConfiguration, CreateOptions};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{Notify, mpsc, watch};

pub(crate) use self::room::Stalled;
use crate::machine::{Host, Taken, Volume};
use crate::process::Process;
use crate::stdio::Stdio;

pub use answer::answer;
pub(crate) use network::NicRequest;
pub use stage::{Stage, State};
pub use start::Started;
pub use statistics::Usage;

/// What of a container is of use to anybody after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// It may be started again, or copied from.
    All,
    /// It deletes itself, but for volumes that it may have written to.
    Volumes,
    /// It deletes itself.
    Nothing,
}

/// A container on one machine. [`crate::live`] lives its life; the methods are what callers may ask for meanwhile.
#[derive(Debug)]
pub struct Container {
    pub(crate) bundle: Bundle,
    /// Where its machine runs.
    pub(crate) host: Host,
    pub(crate) configuration: ContainerConfiguration,
    pub(crate) options: CreateOptions,
    /// What the guest carries out, where the container came with one; else it is made of the configuration.
    pub(crate) spec: Option<Value>,
    pub(crate) stage: watch::Sender<Stage>,
    /// The request to start, with the client's streams: the first one counts.
    pub(crate) start: Mutex<Option<Stdio>>,
    /// Rung when [`Self::start`] was set.
    pub(crate) start_asked: Notify,
    /// Rung to end the machine without asking its guest.
    pub(crate) kill_machine: Notify,
    /// What is asked of the machine's NICs, and where its life takes it from.
    pub(crate) nics: (
        mpsc::Sender<NicRequest>,
        Mutex<Option<mpsc::Receiver<NicRequest>>>,
    ),
    /// On its way to stopped.
    pub(crate) stopping: watch::Sender<bool>,
    /// What its volumes are to keep is in the host's files, and nothing else of it is of use to anybody: its machine is about to be ended.
    pub(crate) closed: watch::Sender<bool>,
    /// What it wrote is needed though it deletes itself: it will be started again.
    pub(crate) keep: AtomicBool,
    /// Its processes are frozen.
    pub(crate) paused: watch::Sender<bool>,
    /// Held while they are being frozen, or let go on.
    pausing: Arc<tokio::sync::Mutex<()>>,
    /// Its machine stands still, as the host does not take what it writes.
    pub(crate) stalled: watch::Sender<Option<Stalled>>,
    /// What the machine costs the host, once there is one.
    pub(crate) memory: OnceLock<HostMemory>,
    /// Nothing of the container runs: its files alone are wanted.
    pub(crate) idle: AtomicBool,
    /// Its own as long as the process lives.
    volumes: OnceLock<Taken>,
    /// Further processes, by their ids.
    processes: Mutex<HashMap<String, Arc<Process>>>,
}

impl Container {
    /// The container of `bundle`, whose machine is not there yet.
    ///
    /// # Errors
    /// When the bundle's `config.json`, `options.json` or `oci.json` cannot be read.
    pub fn open(bundle: Bundle) -> Result<Self, Error> {
        let (nics, asked) = mpsc::channel(1);
        Ok(Self {
            configuration: read(&bundle.configuration(), "config.json")?,
            options: read(&bundle.options(), "options.json")?,
            spec: given_spec(&bundle)?,
            bundle,
            host: Host::default(),
            stage: watch::Sender::new(Stage::Booting),
            start: Mutex::new(None),
            start_asked: Notify::new(),
            kill_machine: Notify::new(),
            nics: (nics, Mutex::new(Some(asked))),
            stopping: watch::Sender::new(false),
            closed: watch::Sender::new(false),
            keep: AtomicBool::new(false),
            paused: watch::Sender::new(false),
            pausing: Arc::default(),
            stalled: watch::Sender::new(None),
            memory: OnceLock::new(),
            idle: AtomicBool::new(false),
            volumes: OnceLock::new(),
            processes: Mutex::new(HashMap::new()),
        })
    }

    /// Keeps its volumes for as long as this process lives.
    pub(crate) fn hold_volumes(&self, volumes: Taken) {
        // There is one machine.
        let _ = self.volumes.set(volumes);
    }

    /// What of it is of use to anybody after its end.
    pub(crate) fn leaves(&self) -> Leaves {
        let volumes = Volume::all(&self.configuration);
        match volumes.iter().all(|volume| volume.read_only) {
            _ if !self.options.auto_remove => Leaves::All,
            true => Leaves::Nothing,
            false => Leaves::Volumes,
        }
    }

    /// The guest's name of the process `id`: the first process, whose id is empty here, has the container's there.
    fn id_in_guest(&self, id: &str) -> String {
        if id.is_empty() {
            self.configuration.id.clone()
        } else {
            id.to_owned()
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path, name: &str) -> Result<T, Error> {
    bundle::read_json(path)
        .map_err(|error| Error::caused(Kind::Internal, error).context(format_args!("read {name}")))
}

/// The specification that came with the bundle, if one did.
fn given_spec(bundle: &Bundle) -> Result<Option<Value>, Error> {
    let path = bundle.runtime_spec();
    if path.exists() {
        read(&path, "oci.json").map(Some)
    } else {
        Ok(None)
    }
}
