//! `start`: a helper, its machine, the first process.

mod agent;
mod boot;
mod first;
mod networks;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use container_api::plugin::{self, Service, ServiceKind};
use container_api::{Error, Kind};
use container_resource::bundle::{self, Interface, Timeline};
use container_resource::container::ContainerState;
use container_resource::event::{Action, Origin};
use jiff::Timestamp;

use super::create::kind;
use super::entry::Agent;
use super::helper::{Helper, Lent};
use super::{Containers, Entry, not_found};
use crate::networks::{Attached, Joining};
use crate::templates::Request;
use agent::without_agent;
use boot::not_started;
use first::{FirstProcess, check_protocol};

/// How long a container may take to be stopped before it is started again.
const STOPPING_TIMEOUT: Duration = Duration::from_secs(30);

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

/// A helper that boots, and what it was started with.
#[derive(Debug)]
pub(super) struct Booting {
    pub helper: Helper,
    pub runtime: Service,
    pub request: Request,
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
            runtime,
            request,
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
        if !runtime.is_ours {
            if let Err(error) = check_protocol(entry, &helper).await {
                return Err(self.start_failed(entry, &helper, error).await);
            }
        }
        let requested_us = request.boot.requested_us;
        let first = self.first_process(entry, helper, lent).await?;
        self.prepare_next(&first, runtime, request);
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

    /// Has what the next start like this one needs be made: a template, or a machine that waits.
    pub(super) fn prepare_next(&self, first: &FirstProcess, runtime: Service, request: Request) {
        if !runtime.is_ours {
            return;
        }
        if first.template_wanted {
            self.templates.want(runtime.program, request);
        } else if first.origin != Origin::Cold {
            self.standby.want(runtime.program, request);
        }
    }

    /// Starts the helper of `entry`, which begins to boot. The container is to be `idle` where its files alone are wanted: it has
    /// no network then.
    pub(super) async fn spawn(&self, entry: &Entry, idle: bool) -> Result<Booting, Error> {
        let requested_us = Timestamp::now().as_microsecond();
        let configuration = &*entry.configuration()?;
        self.reserve.check_start()?;
        let name = &configuration.runtime_handler;
        let runtime = plugin::service(&self.roots, name, ServiceKind::Runtime)?;
        self.check_volumes(configuration)?;
        let replayed = self.replay_journals(configuration).await;
        replayed.map_err(|error| self.name_holder(entry, error))?;
        let boot = self.renewed_boot(entry, requested_us, idle).await?;
        let not_filled = if idle {
            Vec::new()
        } else {
            self.fill_new_volumes(entry, &boot).await?
        };
        let failed = |error: std::io::Error| {
            Error::caused(kind(&error), error).context(format_args!(
                "start the runtime helper of container {}",
                entry.id
            ))
        };
        let may_be_restored = runtime.is_ours && !entry.options.no_template;
        let mut request = Request {
            configuration: configuration.clone(),
            boot,
        };
        let mut standby = may_be_restored
            .then(|| self.standby.take(&runtime.program, &request))
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
        warnings.extend(not_filled);
        // A machine is there for long: whoever comes later brings their agent.
        if configuration.ssh && !idle && configuration.machine.is_none() {
            warnings.extend(without_agent(&entry.id, request.boot.ssh_agent.as_deref()));
        }
        request.boot.interfaces = interfaces;
        if may_be_restored {
            Interface::save_first(&mut request.boot.interfaces);
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
                let program = &runtime.program;
                let started = Helper::start(program, bundle, id, standby, taps, self.debug).await;
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
            runtime,
            request,
            warnings,
            joining,
        })
    }
}
