//! The container as the calls of the apiserver meet it, wherever it is in its life.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use container_api::descriptors::Descriptors;
use container_api::guest::{ArchiveRequest, ExecReply, ExecRequest, ResizeRequest, SignalRequest};
use container_api::guest_channel::Guest;
use container_api::{Error, Kind, types};
use container_engine::HostMemory;
use container_resource::bundle::{Bundle, Timeline};
use container_resource::container::{ContainerConfiguration, CreateOptions, ProcessConfiguration};
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::machine::{Taken, Volume};
use crate::oci;
use crate::process::{Ended, Process};
use crate::stdio::{Stdio, TerminalSize};

/// How long a guest may take to answer a call that has nothing to wait for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the end of the machine may take to be seen after the guest was lost.
const END_LIMIT: Duration = Duration::from_secs(20);
/// The most processes that are remembered; beyond, those that have ended are forgotten.
const MAX_PROCESSES: usize = 4096;

/// How far a container has come.
#[derive(Clone, Debug)]
pub enum Stage {
    /// Its machine boots, or waits for the request to start.
    Booting,
    /// Its first process runs.
    Running {
        /// Calls into the guest.
        guest: Guest,
        /// The first process.
        first: Arc<Process>,
        /// How it was started.
        started: Arc<Started>,
    },
    /// It could not be started.
    Failed(Error),
    /// It has ended, and so has its machine.
    Stopped(Ended),
}

/// How a container was started.
#[derive(Debug)]
pub struct Started {
    /// When its first process ran.
    pub at: Timestamp,
    /// The phases up to then.
    pub timeline: Timeline,
    /// A template would have been used, had there been one.
    pub template_wanted: bool,
}

/// What the calls and the life of a container share.
#[derive(Debug)]
pub struct Container {
    /// Its directory.
    pub bundle: Bundle,
    /// What was asked for.
    pub configuration: ContainerConfiguration,
    /// How it is to be treated.
    pub options: CreateOptions,
    /// Descriptors that clients have handed over.
    pub descriptors: Descriptors,
    /// How far it has come.
    pub stage: watch::Sender<Stage>,
    /// The request to start, with the client's streams: the first one counts.
    pub start: Mutex<Option<Stdio>>,
    /// Rung when [`Self::start`] was set.
    pub start_asked: Notify,
    /// Rung to end the machine without asking its guest.
    pub kill_machine: Notify,
    /// On its way to stopped.
    pub stopping: watch::Sender<bool>,
    /// What it wrote is needed though it deletes itself: it will be started again.
    pub keep: AtomicBool,
    /// Its processes are frozen.
    pub paused: watch::Sender<bool>,
    /// What the machine costs the host, once there is one.
    pub memory: OnceLock<HostMemory>,
    /// Nothing of the container runs: its files alone are wanted.
    pub idle: AtomicBool,
    /// Its own as long as the process lives.
    volumes: OnceLock<Taken>,
    processes: Mutex<HashMap<String, Arc<Process>>>,
}

impl Container {
    /// A container whose machine is not there yet.
    pub fn new(
        bundle: Bundle,
        configuration: ContainerConfiguration,
        options: CreateOptions,
    ) -> Self {
        Self {
            bundle,
            configuration,
            options,
            descriptors: Descriptors::default(),
            stage: watch::Sender::new(Stage::Booting),
            start: Mutex::new(None),
            start_asked: Notify::new(),
            kill_machine: Notify::new(),
            stopping: watch::Sender::new(false),
            keep: AtomicBool::new(false),
            paused: watch::Sender::new(false),
            memory: OnceLock::new(),
            idle: AtomicBool::new(false),
            volumes: OnceLock::new(),
            processes: Mutex::new(HashMap::new()),
        }
    }

    /// Keeps its volumes for as long as this process lives.
    pub fn hold_volumes(&self, volumes: Taken) {
        // There is one machine.
        let _ = self.volumes.set(volumes);
    }

    /// Whether nothing that it wrote is of use to anybody after its end: it deletes itself, and no volume was written to.
    pub fn leaves_nothing(&self) -> bool {
        let volumes = Volume::all(&self.configuration);
        self.options.auto_remove && volumes.iter().all(|volume| volume.read_only)
    }

    /// The client's descriptors for `stdio`.
    pub fn stdio(&self, stdio: Option<types::Stdio>) -> Result<Stdio, Error> {
        let Some(wanted) = stdio else {
            return Ok(Stdio::default());
        };
        let size = TerminalSize::told(wanted.rows, wanted.columns);
        if wanted.token.is_empty() {
            return Ok(Stdio {
                size,
                ..Stdio::default()
            });
        }
        let descriptors = self.descriptors.take(&wanted.token).ok_or_else(|| {
            Error::new(
                Kind::InvalidArgument,
                "the standard streams were not handed over",
            )
        })?;
        let mut descriptors = descriptors.into_iter();
        let mut next =
            |is_set: bool| -> Option<OwnedFd> { if is_set { descriptors.next() } else { None } };
        Ok(Stdio {
            stdin: next(wanted.stdin),
            stdout: next(wanted.stdout),
            stderr: next(wanted.stderr),
            lifeline: next(wanted.lifeline),
            size,
        })
    }

    /// Starts the first process, once; answers when it runs.
    pub async fn start(&self, stdio: Stdio) -> Result<Arc<Started>, Error> {
        {
            let mut start = self.start.lock().unwrap_or_else(PoisonError::into_inner);
            if start.is_none() {
                *start = Some(stdio);
            }
        }
        self.start_asked.notify_one();
        self.booted().await;
        match &*self.stage.borrow() {
            Stage::Running { started, .. } => Ok(started.clone()),
            Stage::Failed(error) => Err(error.clone()),
            Stage::Stopped(ended) => {
                Err(not_running(&self.configuration.id, ended.reason.as_deref()))
            }
            Stage::Booting => Err(Error::new(Kind::Internal, "the helper is shutting down")),
        }
    }

    /// Waits until the first process runs or will not.
    pub async fn booted(&self) {
        let mut stage = self.stage.subscribe();
        // The sender lives as long as `self`, so there is no error.
        let _ = stage
            .wait_for(|stage| !matches!(stage, Stage::Booting))
            .await;
    }

    /// The guest of a running container.
    pub fn guest(&self) -> Result<Guest, Error> {
        match &*self.stage.borrow() {
            Stage::Running { guest, .. } => Ok(guest.clone()),
            Stage::Booting => Err(Error::new(
                Kind::InvalidState,
                format!("container {} is not running yet", self.configuration.id),
            )),
            Stage::Failed(error) => Err(error.clone()),
            Stage::Stopped(ended) => {
                Err(not_running(&self.configuration.id, ended.reason.as_deref()))
            }
        }
    }

    /// Asks the guest what has nothing to wait for. Where it cannot answer any more, its machine is on its way out.
    pub async fn ask<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, Error> {
        answer(call).await.map_err(|error| match error.kind {
            Kind::Unavailable => Error::new(
                Kind::InvalidState,
                format!("container {} is stopping", self.configuration.id),
            ),
            _ => error,
        })
    }

    /// Runs `process` beside the first one, under the name `id`; `apart`, so that SIGKILL takes all that it started along.
    pub async fn exec(
        &self,
        id: &str,
        process: &ProcessConfiguration,
        stdio: Stdio,
        apart: bool,
    ) -> Result<(), Error> {
        let guest = self.guest()?;
        let oci = oci::process(&self.configuration, process, stdio.size)
            .map_err(|error| Error::chain(Kind::InvalidArgument, &error))?;
        let oci = serde_json::to_vec(&oci).map_err(|error| Error::chain(Kind::Internal, &error))?;
        let input = stdio.stdin.is_some();
        let request = ExecRequest {
            process: id.to_owned(),
            oci_process: Bytes::from(oci),
            user: oci::user(process),
            stdin: input,
            apart,
        };
        let mut caller = guest.calls();
        let mut call = tokio::spawn(async move { caller.exec(request).await });
        let answered = async {
            let joined = (&mut call).await;
            joined.map_err(|error| Error::chain(Kind::Internal, &error))?
        };
        if let Err(error) = self.ask(answered).await {
            if error.kind == Kind::Timeout {
                tokio::spawn(take_back(guest, id.to_owned(), call));
            }
            return Err(error);
        }
        let followed = Process::follow(&guest, id, process.terminal, input, stdio, None)
            .await
            .map_err(|error| Error::chain(Kind::Internal, &error).context("connect the process"))?;
        self.remember(id, followed);
        Ok(())
    }

    /// Begins the operation on the container's files that `words` ask for, under the name `id`.
    pub async fn archive(&self, id: &str, words: Vec<Bytes>, stdio: Stdio) -> Result<(), Error> {
        let guest = self.guest()?;
        let input = stdio.stdin.is_some();
        let request = ArchiveRequest {
            process: id.to_owned(),
            words,
        };
        self.ask(guest.calls().archive(request)).await?;
        let followed = Process::follow(&guest, id, false, input, stdio, None)
            .await
            .map_err(|error| {
                Error::chain(Kind::Internal, &error).context("connect the operation")
            })?;
        self.remember(id, followed);
        Ok(())
    }

    /// Whether an operation or a process beside the first one goes on.
    pub fn is_busy(&self) -> bool {
        let processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        processes.values().any(|process| !process.has_ended())
    }

    /// The process `id`; an empty one is the first.
    pub fn process(&self, id: &str) -> Result<Arc<Process>, Error> {
        if id.is_empty() {
            if let Stage::Running { first, .. } = &*self.stage.borrow() {
                return Ok(first.clone());
            }
            self.guest()?;
        }
        let processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        processes.get(id).cloned().ok_or_else(|| {
            Error::new(
                Kind::NotFound,
                format!("container {} has no process {id}", self.configuration.id),
            )
        })
    }

    fn remember(&self, id: &str, process: Arc<Process>) {
        let mut processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if processes.len() >= MAX_PROCESSES {
            processes.retain(|_, process| !process.has_ended());
        }
        processes.insert(id.to_owned(), process);
    }

    /// Forgets a process whose end has been told.
    pub fn forget(&self, id: &str) {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
    }

    /// Sends `signal` to the process `id`, or to every process where `all` is set.
    pub async fn signal(&self, id: &str, signal: i32, all: bool) -> Result<(), Error> {
        let guest = self.guest()?;
        let process = if id.is_empty() {
            self.configuration.id.clone()
        } else {
            id.to_owned()
        };
        self.ask(guest.calls().signal(SignalRequest {
            process,
            signal,
            all,
        }))
        .await?;
        Ok(())
    }

    /// Gives the terminal of the process `id`, the first one where that is empty, another `size`.
    pub async fn resize(&self, id: &str, size: TerminalSize) -> Result<(), Error> {
        let process = if id.is_empty() {
            self.configuration.id.clone()
        } else {
            id.to_owned()
        };
        let request = ResizeRequest {
            process,
            rows: size.rows.into(),
            columns: size.columns.into(),
        };
        let mut guest = self.guest()?.calls();
        self.ask(guest.resize(request)).await?;
        Ok(())
    }

    /// How the container ended, once its machine is gone. A container that deletes itself is told of as
    /// soon as its process has ended and its output is handed over: nobody will look at its disk.
    pub async fn ended(&self) -> Result<Ended, Error> {
        if self.leaves_nothing() {
            let first = match &*self.stage.borrow() {
                Stage::Running { first, .. } => Some(first.clone()),
                _ => None,
            };
            if let Some(first) = first {
                let ended = first.ended().await;
                if ended.reason.is_none() {
                    return Ok(ended);
                }
            }
        }
        self.stopped().await
    }

    /// How a further process ended, of which the guest can tell no more than `ended` does: where the container has ended
    /// meanwhile, that killed what it still ran.
    pub async fn with_its_container(&self, ended: Ended) -> Ended {
        if ended.reason.is_none() {
            return ended;
        }
        match tokio::time::timeout(END_LIMIT, self.stopped()).await {
            Ok(Ok(container)) => Ended {
                exit_code: match container.reason {
                    Some(_) => container.exit_code,
                    None => 128 + libc::SIGKILL,
                },
                reason: container.reason,
                ..ended
            },
            _ => ended,
        }
    }

    /// How the container ended, once its machine is gone.
    pub async fn stopped(&self) -> Result<Ended, Error> {
        let mut stage = self.stage.subscribe();
        let reached = stage
            .wait_for(|stage| matches!(stage, Stage::Stopped(_) | Stage::Failed(_)))
            .await;
        match reached.as_deref() {
            Ok(Stage::Stopped(ended)) => Ok(ended.clone()),
            Ok(Stage::Failed(error)) => Err(error.clone()),
            _ => Err(Error::new(Kind::Internal, "the helper is shutting down")),
        }
    }
}

/// Ends the process `id` when a guest that hung goes on and starts it: its client was told that it did not.
async fn take_back(
    guest: Guest,
    id: String,
    exec: JoinHandle<Result<tonic::Response<ExecReply>, tonic::Status>>,
) {
    if let Ok(Ok(_)) = exec.await {
        let request = SignalRequest {
            process: id,
            signal: libc::SIGKILL,
            all: false,
        };
        // It may have ended by itself, or the guest with it.
        let _ = guest.calls().signal(request).await;
    }
}

/// Bounds a call to the guest that has nothing to wait for.
pub async fn answer<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Error> {
    match tokio::time::timeout(ANSWER_TIMEOUT, call).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(Error::of_guest(status)),
        Err(_) => Err(Error::new(
            Kind::Timeout,
            format!(
                "the guest did not answer within {} s",
                ANSWER_TIMEOUT.as_secs()
            ),
        )),
    }
}

fn not_running(id: &str, reason: Option<&str>) -> Error {
    let mut text = format!("container {id} is not running");
    if let Some(reason) = reason {
        text.push_str(": ");
        text.push_str(reason);
    }
    Error::new(Kind::InvalidState, text)
}
