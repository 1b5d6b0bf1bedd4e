//! One container, as the apiserver knows it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use container_api::request::Channel;
use container_api::runtime::runtime_client::RuntimeClient;
use container_api::{Error, Kind, types};
use container_resource::bundle::{Boot, Bundle, Exit, Interface};
use container_resource::container::{
    Attachment, ContainerConfiguration, ContainerState, ContainerStatus, CreateOptions,
    ManagedContainer, PublishPort,
};
use container_resource::standstill::Standstill;
use jiff::Timestamp;
use tokio::sync::watch;
use tonic::{Response, Status};

use super::archive::Opened;
use super::helper::{Helper, Lent};

/// The present or last run of a container.
#[derive(Clone, Debug)]
pub enum Run {
    /// Never started since it is known here.
    None,
    /// Its helper lives.
    Active,
    /// It has ended.
    Ended(Exit),
}

/// Why a helper is killed with its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// The container is deleted by force.
    Deleted,
    /// It was to stop its container and did not.
    Disobeyed,
}

/// One container.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub id: String,
    /// Its directory.
    pub bundle: Bundle,
    /// What was asked for; absent: the bundle is damaged. Its networks may change while it runs.
    configuration: RwLock<Option<Arc<ContainerConfiguration>>>,
    /// How it is to be treated.
    pub options: CreateOptions,
    /// What `list` shows. Never locked for long.
    pub status: watch::Sender<ContainerStatus>,
    /// The present or last run.
    pub run: watch::Sender<Run>,
    /// Held while the container is created, started or deleted.
    pub operation: Arc<tokio::sync::Mutex<()>>,
    /// The machine that its files are reached by while it does not run.
    pub opened: tokio::sync::Mutex<Option<Opened>>,
    /// Held while one of its disks is copied as it is at one moment.
    pub moment: tokio::sync::Mutex<()>,
    helper: Mutex<Option<Helper>>,
    by_hand: AtomicBool,
    held: AtomicBool,
    /// The present or last run is ended so, if nothing ends it before.
    killed: Mutex<Option<Kill>>,
    run_name: Mutex<String>,
    /// Addresses and open ports of the present or last run.
    connections: Mutex<(Vec<Attachment>, Vec<PublishPort>)>,
    /// What the client that starts it next has said of its SSH agent.
    ssh_agent: Mutex<Option<Agent>>,
    /// When the first process of the present or last run was seen to run.
    since: Mutex<Option<Instant>>,
}

/// Socket of a client's SSH agent; nothing: it has none.
pub type Agent = Option<PathBuf>;

impl Entry {
    /// A container at rest.
    pub fn new(
        id: String,
        bundle: Bundle,
        configuration: Option<ContainerConfiguration>,
        options: CreateOptions,
    ) -> Self {
        Self {
            id,
            bundle,
            configuration: RwLock::new(configuration.map(Arc::new)),
            options,
            status: watch::Sender::default(),
            run: watch::Sender::new(Run::None),
            operation: Arc::default(),
            opened: tokio::sync::Mutex::default(),
            moment: tokio::sync::Mutex::default(),
            helper: Mutex::default(),
            by_hand: AtomicBool::new(false),
            held: AtomicBool::new(false),
            killed: Mutex::default(),
            run_name: Mutex::default(),
            connections: Mutex::default(),
            ssh_agent: Mutex::default(),
            since: Mutex::default(),
        }
    }

    /// The same container at rest, with another `configuration`.
    pub fn successor(&self, bundle: Bundle, configuration: ContainerConfiguration) -> Self {
        let id = configuration.id.clone();
        let successor = Self::new(id, bundle, Some(configuration), self.options.clone());
        successor.status.send_replace(self.status.borrow().clone());
        successor.run.send_replace(self.run.borrow().clone());
        successor.stop_by_hand(self.is_stopped_by_hand());
        successor
    }

    /// Takes down where the client that is about to start it has its SSH agent; empty: nowhere.
    pub fn offer_agent(&self, agent: Agent) {
        *self
            .ssh_agent
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(agent);
    }

    /// What a client has said of its SSH agent since the last start.
    pub fn offered_agent(&self) -> Option<Agent> {
        let mut offered = self
            .ssh_agent
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        offered.take()
    }

    /// As `list` and `inspect` show it.
    pub fn managed(&self) -> ManagedContainer {
        ManagedContainer {
            id: self.id.clone(),
            configuration: match self.readable() {
                Some(configuration) => (*configuration).clone(),
                // The container is listed all the same.
                None => ContainerConfiguration {
                    id: self.id.clone(),
                    ..ContainerConfiguration::default()
                },
            },
            status: self.status.borrow().clone(),
        }
    }

    /// Its configuration, if that can be read.
    pub fn readable(&self) -> Option<Arc<ContainerConfiguration>> {
        let configuration = self.configuration.read();
        configuration
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// It has another configuration from now on, while it runs.
    pub fn reconfigure(&self, configuration: ContainerConfiguration) {
        let mut present = self
            .configuration
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *present = Some(Arc::new(configuration));
    }

    /// The configuration of a container that is not damaged.
    pub fn configuration(&self) -> Result<Arc<ContainerConfiguration>, Error> {
        self.readable().ok_or_else(|| {
            let reason = self.status.borrow().reason.clone().unwrap_or_default();
            Error::new(
                Kind::InvalidState,
                format!(
                    "the bundle of container {} cannot be read: {reason}",
                    self.id
                ),
            )
            .with_hint(format!(
                "Mend {}, or `container delete --force {}`.",
                self.bundle.directory().display(),
                self.id
            ))
        })
    }

    /// The helper of a running container.
    pub fn helper(&self) -> Result<Helper, Error> {
        let helper = self
            .helper
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        helper.ok_or_else(|| {
            Error::new(
                Kind::InvalidState,
                format!("container {} is not running", self.id),
            )
        })
    }

    /// Its helper is about to be killed.
    pub fn kills(&self, why: Kill) {
        *self.killed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Why the helper of the present or last run was killed, if it was.
    pub fn killed(&self) -> Option<Kill> {
        *self.killed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the helper of a running container, for as long as that answers anything at all.
    ///
    /// # Errors
    /// [`Kind::InvalidState`] where it does not run, or where its helper has just gone: it is stopping then.
    pub async fn ask<T, F>(
        &self,
        call: impl FnOnce(RuntimeClient<Channel>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let answer = self.helper()?.call(call).await;
        answer.map_err(|error| self.stopping(error))
    }

    /// Hands a client's streams to the helper.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn relay(&self, lent: Option<Lent>) -> Result<Option<types::Stdio>, Error> {
        let relayed = self.helper()?.relay(lent).await;
        relayed.map_err(|error| self.stopping(error))
    }

    fn stopping(&self, error: Error) -> Error {
        match error.kind {
            Kind::Unavailable => Error::new(
                Kind::InvalidState,
                format!("container {} is stopping", self.id),
            ),
            _ => error,
        }
    }

    /// Somebody has stopped it, or has started it again.
    pub fn stop_by_hand(&self, stopped: bool) {
        self.by_hand.store(stopped, Ordering::Relaxed);
    }

    /// Whether it was stopped, rather than ended by itself.
    pub fn is_stopped_by_hand(&self) -> bool {
        self.by_hand.load(Ordering::Relaxed)
    }

    /// It is stopped only to be started again: its end is no reason to remove it or to ask its policy.
    pub fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    /// Whether its next end is part of a restart.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether it waits for its policy to start it again.
    pub fn is_restarting(&self) -> bool {
        self.status.borrow().state == ContainerState::Restarting
    }

    /// Whether a helper of this container lives.
    pub fn is_active(&self) -> bool {
        matches!(*self.run.borrow(), Run::Active)
    }

    /// A helper lives from now on.
    pub fn begin(&self, helper: Helper) {
        *self.helper.lock().unwrap_or_else(PoisonError::into_inner) = Some(helper);
        *self.run_name.lock().unwrap_or_else(PoisonError::into_inner) =
            uuid::Uuid::new_v4().to_string();
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.killed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.run.send_replace(Run::Active);
    }

    /// Name of the present or last run.
    pub fn run_name(&self) -> String {
        self.run_name
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// It is about to be started, or runs, with these interfaces.
    pub fn connect(&self, boot: &Boot) {
        let networks = boot.interfaces.iter().map(Interface::attachment).collect();
        *self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = (networks, boot.published_ports.clone());
    }

    /// Its interfaces and ports are others while it runs.
    pub fn reconnect(&self, boot: &Boot) {
        self.connect(boot);
        self.status.send_modify(|status| {
            status.networks = boot.interfaces.iter().map(Interface::attachment).collect();
            status.published_ports.clone_from(&boot.published_ports);
        });
    }

    /// Its first process runs since `started`.
    pub fn running(&self, started: Timestamp) {
        let (networks, published_ports) = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.status.send_modify(|status| {
            *status = ContainerStatus {
                state: ContainerState::Running,
                networks,
                published_ports,
                started_date: Some(started),
                restart_count: status.restart_count,
                standstill: status.standstill,
                ..ContainerStatus::default()
            };
        });
    }

    /// For how long the present run has been seen to run, whatever happened to the host's clock meanwhile.
    pub fn age(&self) -> Duration {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// Shows `state` of a container whose helper lives.
    pub fn show(&self, state: ContainerState) {
        if self.is_active() {
            self.status.send_modify(|status| status.state = state);
        }
    }

    /// Shows why its machine stands still, if it does, while its helper lives.
    pub fn stand_still(&self, why: Option<Standstill>) {
        if self.is_active() {
            self.status.send_modify(|status| status.standstill = why);
        }
    }

    /// Why its machine stands still, as far as is known.
    pub fn standstill(&self) -> Option<Standstill> {
        self.status.borrow().standstill
    }

    /// Its helper is gone, and the container is in `state` from now on.
    pub fn end(&self, exit: Exit, state: ContainerState) {
        if exit.by_hand {
            self.stop_by_hand(true);
        }
        *self.helper.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.status.send_modify(|status| {
            *status = ContainerStatus {
                state,
                started_date: exit.started.or(status.started_date),
                exited_date: Some(exit.exited),
                exit_code: Some(exit.exit_code),
                reason: exit.reason.clone(),
                oom_killed: exit.oom_killed,
                restart_count: status.restart_count,
                ..ContainerStatus::default()
            };
        });
        self.run.send_replace(Run::Ended(exit));
    }

    /// How the last run ended, when no other one follows it by itself.
    pub async fn rests(&self) -> Result<Exit, Error> {
        let mut status = self.status.subscribe();
        loop {
            let exit = self.ended().await?;
            // The sender is our own.
            let _ = status
                .wait_for(|status| status.state != ContainerState::Restarting)
                .await;
            if !self.is_active() {
                return Ok(exit);
            }
        }
    }

    /// The restart that it was to have will not be: it is stopped.
    pub fn no_restart(&self) {
        self.status.send_if_modified(|status| {
            let waited = status.state == ContainerState::Restarting;
            if waited {
                status.state = ContainerState::Stopped;
            }
            waited
        });
    }

    /// How the present run ends, or the last one ended.
    pub async fn ended(&self) -> Result<Exit, Error> {
        let mut run = self.run.subscribe();
        let reached = run.wait_for(|run| !matches!(run, Run::Active)).await;
        match reached.as_deref() {
            Ok(Run::Ended(exit)) => Ok(exit.clone()),
            _ => Err(Error::new(
                Kind::InvalidState,
                format!("container {} was never started", self.id),
            )),
        }
    }
}
