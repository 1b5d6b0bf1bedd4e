//! `start`: a helper, its machine, the first process.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use container_api::plugin::{self, ServiceKind};
use container_api::request::Channel;
use container_api::runtime::runtime_client::RuntimeClient;
use container_api::{Error, Kind, protocol, runtime};
use container_resource::bundle::{self, Boot, Extent, Interface, Timeline, VolumeDisk};
use container_resource::container::{ContainerConfiguration, ContainerState, Mount};
use container_resource::creation::DEFAULT_RUNTIME;
use container_resource::event::{Action, Attribute, Origin};
use container_resource::publish;
use jiff::Timestamp;

use super::create::kind;
use super::entry::{Agent, Kill, Run};
use super::follow::{record_by_hand, recorded, remove_sockets};
use super::helper::{Helper, Lent};
use super::{Containers, Entry, not_found};
use crate::networks::{Attached, Joining};
use crate::standby::Waiting;
use crate::templates::Request;

/// How long a start may take. The helper's own bounds end it earlier, with a better reason.
const START_TIMEOUT: Duration = Duration::from_secs(180);
/// How long a helper may take to end after its start failed.
const GOODBYE: Duration = Duration::from_secs(5);
/// How long a container may take to be stopped before it is started again.
const STOPPING_TIMEOUT: Duration = Duration::from_secs(30);

/// Most volumes of a machine that waits: with a network each of them has a place of its own on the machine.
const WAITING_VOLUMES: usize = 2;

/// A container that runs.
#[derive(Debug, Default)]
pub struct Started {
    /// It ran before: nothing was started.
    pub already_running: bool,
    /// The phases of the start.
    pub timeline: Timeline,
    /// Names this run of the container.
    pub run: String,
    /// What the user has to know of a container that runs nevertheless.
    pub warnings: Vec<String>,
}

/// A first process that runs, as its helper tells.
#[derive(Debug)]
pub(super) struct FirstProcess {
    /// Since when.
    pub at: Timestamp,
    /// The phases up to then.
    pub timeline: Timeline,
    /// Where its machine came from.
    pub origin: Origin,
    /// No template fitted, although one was allowed.
    pub template_wanted: bool,
}

impl FirstProcess {
    fn of(reply: &runtime::StartReply) -> Self {
        let at = Timestamp::from_millisecond(reply.started_ms);
        Self {
            at: at.unwrap_or_else(|_| Timestamp::now()),
            // A helper that says nothing of its phases has started it nevertheless.
            timeline: serde_json::from_slice(&reply.timeline).unwrap_or_default(),
            origin: match reply.origin() {
                runtime::Origin::Cold => Origin::Cold,
                runtime::Origin::Template => Origin::Template,
                runtime::Origin::Standby => Origin::Standby,
            },
            template_wanted: reply.template_wanted,
        }
    }

    /// What is told of a start that was asked for at `requested_us`, in microseconds since the epoch.
    fn attributes(&self, requested_us: i64) -> [(Attribute, String); 2] {
        let took = (self.at.as_microsecond() - requested_us).max(0) / 1000;
        [
            (Attribute::Machine, self.origin.word().to_owned()),
            (Attribute::Milliseconds, took.to_string()),
        ]
    }
}

/// A helper that boots, and what it was started with.
#[derive(Debug)]
pub(super) struct Booting {
    pub helper: Helper,
    pub program: PathBuf,
    pub request: Request,
    /// Whether a machine like it can be prepared for the next one.
    pub can_be_prepared: bool,
    /// What is odd, and harms nothing.
    pub warnings: Vec<String>,
    /// Its networks, which have to take it in before its first process starts.
    pub joining: Joining,
}

impl Containers {
    /// Starts the container `id`, unless it runs already; from now on it reaches `agent`, if one is told.
    pub async fn start(
        self: &Arc<Self>,
        id: &str,
        agent: Option<Agent>,
        lent: Option<Lent>,
    ) -> Result<Started, Error> {
        let entry = self.get(id)?;
        entry.stop_by_hand(false);
        entry.status.send_modify(|status| status.restart_count = 0);
        let _operation = entry.operation.lock().await;
        if let Some(agent) = agent {
            entry.offer_agent(agent);
        }
        self.start_entry(&entry, lent).await
    }

    /// Starts `entry`, asked by a client or by its policy. The caller holds its operation lock.
    pub async fn start_entry(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        lent: Option<Lent>,
    ) -> Result<Started, Error> {
        let id = entry.id.as_str();
        if !self.is_current(entry) {
            return Err(not_found(id));
        }
        if entry.is_active() {
            if entry.status.borrow().state != ContainerState::Stopping {
                return Ok(Started {
                    already_running: true,
                    run: entry.run_name(),
                    ..Started::default()
                });
            }
            tokio::time::timeout(STOPPING_TIMEOUT, entry.ended())
                .await
                .map_err(|_| {
                    Error::new(Kind::Timeout, format!("container {id} does not stop"))
                })??;
        }
        let booted = self.boot(entry, lent).await;
        if booted.is_err() {
            self.failed_starts.fetch_add(1, Ordering::Relaxed);
        }
        booted
    }

    async fn boot(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        lent: Option<Lent>,
    ) -> Result<Started, Error> {
        let Booting {
            helper,
            program,
            request,
            can_be_prepared,
            mut warnings,
            joining,
        } = self.spawn(entry, false).await?;
        entry.connect(&request.boot);
        entry.begin(helper.clone());
        match joining.joined().await {
            Ok(told) => warnings.extend(told),
            Err(error) => {
                // It waits for a word to go on.
                if let Err(error) = helper.kill().await {
                    tracing::error!(container = %entry.id, "{error:#}");
                }
                let ended = Error::new(Kind::Cancelled, "its networks do not take it in");
                self.start_failed(entry, &helper, ended).await;
                return Err(error);
            }
        }
        let requested_us = request.boot.requested_us;
        let first = self.first_process(entry, helper, lent).await?;
        if first.template_wanted && entry.configuration()?.runtime_handler == DEFAULT_RUNTIME {
            self.templates.want(program, request);
        } else if can_be_prepared {
            self.standby.want(program, request);
        }
        for warning in &warnings {
            tracing::warn!(container = %entry.id, "{warning}");
        }
        let attributes = first.attributes(requested_us);
        self.events.tell(Action::Start, &entry.id, attributes);
        Ok(Started {
            already_running: false,
            timeline: first.timeline,
            run: entry.run_name(),
            warnings,
        })
    }

    /// Starts the helper of `entry`, which begins to boot. The container is to be `idle` where its files alone are wanted: it has
    /// no network then.
    pub(super) async fn spawn(&self, entry: &Entry, idle: bool) -> Result<Booting, Error> {
        let requested_us = Timestamp::now().as_microsecond();
        let configuration = &*entry.configuration()?;
        self.reserve.check_start()?;
        let runtime = &configuration.runtime_handler;
        let program = plugin::service(&self.roots, runtime, ServiceKind::Runtime)?;
        self.replay_journals(configuration).await?;
        let boot = self.renewed_boot(entry, requested_us, idle).await?;
        let failed = |error: std::io::Error| {
            Error::caused(kind(&error), error).context(format_args!(
                "start the runtime helper of container {}",
                entry.id
            ))
        };
        // A machine that waits has no init image and no share, few volumes, and the tap of one network at most.
        let has_shares = configuration.mounts.iter().any(Mount::is_shared);
        let volumes = boot.volumes.len();
        let networks = if idle {
            usize::from(!configuration.networks.is_empty()) * 2
        } else {
            configuration.networks.len()
        };
        let can_be_prepared = runtime == DEFAULT_RUNTIME
            && !entry.options.no_template
            && boot.init.is_none()
            && !has_shares
            && volumes <= WAITING_VOLUMES
            && networks <= 1;
        let mut request = Request {
            configuration: configuration.clone(),
            boot,
        };
        let mut standby = can_be_prepared
            .then(|| self.standby.take(&program, &request))
            .flatten();
        let Attached {
            interfaces,
            taps,
            ports,
            mut warnings,
            joining,
        } = if idle {
            Attached::default()
        } else {
            self.put_on_networks(configuration, &mut standby).await?
        };
        // A machine is there for long: whoever comes later brings their agent.
        if configuration.ssh && !idle && configuration.machine.is_none() {
            warnings.extend(without_agent(&entry.id, request.boot.ssh_agent.as_deref()));
        }
        request.boot.interfaces = interfaces;
        if runtime == DEFAULT_RUNTIME && !entry.options.no_template {
            save_first_device(&mut request.boot.interfaces);
        }
        request.boot.published_ports = ports;
        let written = bundle::write_json(&entry.bundle.boot(), &request.boot).map_err(failed);
        let cleared = written.and_then(|()| {
            // The record of the last run stays where this is not a run.
            let removed = if idle {
                Ok(())
            } else {
                std::fs::remove_file(entry.bundle.exit())
            };
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error)),
                _ => Ok(()),
            }
        });
        let (bundle, id) = (&entry.bundle, &entry.id);
        let started = match cleared {
            Ok(()) => {
                let started = Helper::start(&program, bundle, id, standby, taps, self.debug).await;
                started.map_err(|error| {
                    not_started(entry);
                    failed(error)
                })
            }
            Err(error) => Err(error),
        };
        let helper = match started {
            Ok(helper) => helper,
            Err(error) => {
                // What comes later would stay. The first error is the one to tell.
                let _ = joining.joined().await;
                self.networks.ends(&entry.id);
                return Err(error);
            }
        };
        Ok(Booting {
            helper,
            program,
            request,
            can_be_prepared,
            warnings,
            joining,
        })
    }

    /// Puts the container on its networks, with the tap of the machine that waits in `standby`: that waits no more where it
    /// cannot be done.
    async fn put_on_networks(
        &self,
        configuration: &ContainerConfiguration,
        standby: &mut Option<Waiting>,
    ) -> Result<Attached, Error> {
        let spare = standby.as_ref().and_then(|waiting| waiting.spare.as_ref());
        // A helper that takes the place of the one that waits needs it.
        let both = spare.and_then(|spare| Some((spare, spare.tap.try_clone().ok()?)));
        if let Some((spare, tap)) = both {
            let attached = self.networks.attach(configuration, Some(spare)).await;
            match attached {
                Ok(mut attached) if !attached.interfaces.is_empty() => {
                    attached.taps.push(tap);
                    return Ok(attached);
                }
                attached => {
                    tracing::debug!(?attached, "the tap of the standby machine is of no use");
                    *standby = None;
                }
            }
        } else if spare.is_some() {
            *standby = None;
        }
        let attached = self.networks.attach(configuration, None).await;
        attached.map_err(|error| match error.kind {
            Kind::Exists => self.holder_of_port(configuration).unwrap_or(error),
            _ => error,
        })
    }

    /// That a port of `configuration` is another container's, where it is: a network's process sees of those of other networks that a
    /// process like itself has them.
    fn holder_of_port(&self, configuration: &ContainerConfiguration) -> Option<Error> {
        let others = self.all();
        let others = others
            .iter()
            .filter(|other| other.is_active() && other.id != configuration.id);
        for other in others {
            let status = other.status.borrow();
            for held in &status.published_ports {
                let mut wanted = configuration.published_ports.iter();
                if let Some(port) = wanted.find_map(|port| publish::overlap(port, held)) {
                    let text = format!(
                        "port {port}/{} of the host is taken by container {}",
                        held.proto, other.id
                    );
                    return Some(Error::new(Kind::Exists, text));
                }
            }
        }
        None
    }

    /// Has the helper of `entry`, which boots, start the first process, and follows it from there.
    pub(super) async fn first_process(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        helper: Helper,
        lent: Option<Lent>,
    ) -> Result<FirstProcess, Error> {
        let started = async {
            check_protocol(entry, &helper).await?;
            self.start_process(&helper, lent).await
        };
        match started.await {
            Ok(first) => {
                entry.running(first.at);
                self.watch_health(entry, &helper);
                tokio::spawn(self.clone().follow(entry.clone(), helper));
                Ok(first)
            }
            Err(error) => Err(self.start_failed(entry, &helper, error).await),
        }
    }

    /// Cleans up after a start that failed; gives the best reason there is.
    async fn start_failed(&self, entry: &Entry, helper: &Helper, error: Error) -> Error {
        // The helper records why and ends by itself; one that hangs is ended.
        if tokio::time::timeout(GOODBYE, helper.gone()).await.is_err() {
            if let Err(error) = helper.kill().await {
                tracing::error!(container = %entry.id, "{error:#}");
            }
        }
        remove_sockets(entry);
        self.networks.ends(&entry.id);
        let mut exit = recorded(entry);
        if entry.is_stopped_by_hand() {
            record_by_hand(entry, &mut exit);
        }
        if entry.killed() == Some(Kill::Deleted) {
            entry.end(exit, ContainerState::Stopped);
            let text = format!("container {} was deleted while it started", entry.id);
            return Error::new(Kind::Cancelled, text);
        }
        let error = match &exit.reason {
            Some(reason) if error.kind == Kind::Unavailable => {
                Error::new(Kind::Internal, reason.clone())
            }
            _ => error,
        };
        entry.end(exit, ContainerState::Stopped);
        error
    }

    pub(super) async fn start_process(
        &self,
        helper: &Helper,
        lent: Option<Lent>,
    ) -> Result<FirstProcess, Error> {
        let stdio = helper.relay(lent).await?;
        let request = runtime::StartRequest { stdio };
        let call = helper.call(|mut client| async move { client.start(request).await });
        let reply = tokio::time::timeout(START_TIMEOUT, call)
            .await
            .map_err(|_| {
                let text = "the runtime helper did not start the container in time";
                Error::new(Kind::Timeout, text)
            })??;
        Ok(FirstProcess::of(&reply))
    }

    /// What `boot.json` is to be: the default kernel may be another one by now, and a layer that is not the file any
    /// more that it was has to be looked at, and unpacked again perhaps.
    async fn renewed_boot(
        &self,
        entry: &Entry,
        requested_us: i64,
        idle: bool,
    ) -> Result<Boot, Error> {
        let path = entry.bundle.boot();
        let mut boot: Boot = bundle::read_json(&path)
            .map_err(|error| Error::caused(Kind::Internal, error).context("read boot.json"))?;
        let mut extents = std::iter::once(&boot.root)
            .chain(&boot.init)
            .flat_map(|root| &root.extents);
        if !extents.all(Extent::is_unchanged) {
            let configuration = entry.configuration()?;
            let roots = self.images.prepare_roots(&configuration, &entry.id).await?;
            (boot.root, boot.init) = (roots.container, roots.init);
        }
        let chosen = entry.configuration()?.kernel.clone();
        let guest = self.guest_files(chosen.as_deref()).await?;
        boot.kernel = guest.kernel;
        boot.initramfs = guest.initramfs;
        boot.has_modules = guest.has_modules;
        boot.requested_us = requested_us;
        boot.idle = idle;
        boot.vmm_confinement = self.vmm_confinement;
        boot.restarts = entry.status.borrow().restart_count;
        let configuration = entry.configuration()?;
        boot.volumes = volume_disks(&configuration);
        boot.interfaces.clear();
        boot.published_ports.clear();
        // A policy that starts it again has none to offer: the last one holds.
        if let (false, Some(agent)) = (idle, entry.offered_agent()) {
            boot.ssh_agent = agent;
        }
        Ok(boot)
    }
}

/// Asks a helper that is not ours what it speaks: ours is of the same release.
///
/// # Errors
/// When that is not understood.
async fn check_protocol(entry: &Entry, helper: &Helper) -> Result<(), Error> {
    let configuration = entry.configuration()?;
    let runtime = &configuration.runtime_handler;
    if runtime == DEFAULT_RUNTIME {
        return Ok(());
    }
    let ask = |mut client: RuntimeClient<Channel>| async move {
        client.state(runtime::StateRequest::default()).await
    };
    let told = helper.call(ask).await?.protocol;
    if protocol::understands(told) {
        return Ok(());
    }
    let text = format!(
        "runtime plugin '{runtime}' speaks protocol {told}, and the container system service {}",
        protocol::CURRENT
    );
    let hint = "Install a plugin that was made for this version of container.";
    Err(Error::new(Kind::Unsupported, text).with_hint(hint))
}

/// Has the first interface the device that is saved with a template, unless another one has its address.
fn save_first_device(interfaces: &mut [Interface]) {
    let Some((first, others)) = interfaces.split_first_mut() else {
        return;
    };
    let saved = Interface::SAVED_DEVICE_MAC;
    if others.iter().all(|other| other.device_mac != saved) {
        saved.clone_into(&mut first.device_mac);
    }
}

/// The disks of the volumes of `configuration`. One that cannot be looked at is told of by the helper, which needs it.
fn volume_disks(configuration: &ContainerConfiguration) -> Vec<VolumeDisk> {
    let disk = |name: &str| {
        let mut mounts = configuration.mounts.iter();
        let mount = mounts.find(|mount| mount.volume() == Some(name));
        let found = mount.and_then(|mount| std::fs::metadata(&mount.source).ok());
        VolumeDisk {
            size: found.map_or(0, |found| found.len()),
            read_only: configuration.only_reads(name),
        }
    };
    configuration.volumes().into_iter().map(disk).collect()
}

/// Why a container that asked for an SSH agent finds nobody at `agent`. It starts all the same: a policy starts it when nobody is
/// logged in, too, and an agent that comes later is found.
fn without_agent(id: &str, agent: Option<&Path>) -> Option<String> {
    let is_socket = |path: &Path| {
        let found = std::fs::metadata(path);
        found.is_ok_and(|found| found.file_type().is_socket())
    };
    match agent {
        None => Some(format!(
            "container {id} has no SSH agent: SSH_AUTH_SOCK is not set (start one with `eval $(ssh-agent)`)"
        )),
        Some(path) if !is_socket(path) => Some(format!(
            "container {id} has no SSH agent: nothing listens at {}, which SSH_AUTH_SOCK names",
            path.display()
        )),
        Some(_) => None,
    }
}

/// Leaves the bundle of `entry`, whose helper did not start, as it was: sockets would tell that it runs, and its last run
/// ended as it did.
fn not_started(entry: &Entry) {
    remove_sockets(entry);
    if let Run::Ended(exit) = &*entry.run.borrow() {
        if let Err(error) = bundle::write_json(&entry.bundle.exit(), exit) {
            tracing::warn!(container = %entry.id, "cannot write exit.json: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_tells_where_its_machine_came_from_and_how_long_it_took() {
        let reply = runtime::StartReply {
            started_ms: 1500,
            origin: runtime::Origin::Standby.into(),
            ..runtime::StartReply::default()
        };
        let told = FirstProcess::of(&reply).attributes(1_430_000);
        assert_eq!(told[0], (Attribute::Machine, "standby".to_owned()));
        assert_eq!(told[1], (Attribute::Milliseconds, "70".to_owned()));
    }

    #[test]
    fn an_agent_that_is_not_there_is_told_of() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("agent");
        let told = |agent| without_agent("web", agent).unwrap_or_default();
        assert!(told(None).contains("SSH_AUTH_SOCK is not set"));
        assert!(told(Some(&path)).contains("nothing listens at"));
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(told(Some(&path)), "");
    }
}
