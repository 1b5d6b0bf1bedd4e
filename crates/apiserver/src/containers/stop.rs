//! `stop`, `kill`, and the end of the whole system.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use container_api::{Error, Kind, runtime};
use container_resource::container::ContainerState;
use container_resource::event::Action;
use container_resource::signal;
use rustix::process::Signal;

use super::entry::{Agent, Kill};
use super::follow::{record_by_hand, recorded};
use super::{Containers, Entry, power_off};

/// Grace of `stop` where neither the request nor the container sets one: Apple's 5 s.
const GRACE: Duration = Duration::from_secs(5);
/// Time beside the grace in which a helper must have stopped its container: SIGKILL, shutdown and sync.
const MARGIN: Duration = Duration::from_secs(30);

impl Containers {
    /// Stops the container `id`; one that is not running is stopped already. It stays so, whatever its
    /// restart policy.
    pub async fn stop(
        &self,
        id: &str,
        signal: Option<i32>,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let entry = self.get(id)?;
        entry.stop_by_hand(true);
        if entry.is_restarting() && !entry.is_active() {
            give_up_restart(&entry).await;
        }
        self.stop_entry(&entry, signal, timeout).await
    }

    /// Stops the container `id`, if it runs, and starts it, whoever waits for that; from then on it reaches `agent`.
    pub async fn stop_and_start(
        self: &Arc<Self>,
        id: &str,
        signal: Option<i32>,
        timeout: Option<Duration>,
        agent: Agent,
    ) -> Result<(), Error> {
        let entry = self.get(id)?;
        let ran = entry.is_active();
        entry.hold(true);
        let stopped = self.stop_entry(&entry, signal, timeout).await;
        let started = match stopped {
            Ok(()) => self.start(id, Some(agent), None).await.map(drop),
            Err(error) => Err(error),
        };
        entry.hold(false);
        if ran && started.is_err() && !entry.is_active() {
            entry.no_restart();
        }
        started
    }

    async fn stop_entry(
        &self,
        entry: &Entry,
        signal: Option<i32>,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let id = entry.id.as_str();
        if !entry.is_active() {
            return Ok(());
        }
        // It may have ended between the two looks.
        let Ok(helper) = entry.helper() else {
            return Ok(());
        };
        let configuration = entry.configuration()?;
        let signal = match signal {
            Some(signal) => signal,
            None => match &configuration.stop_signal {
                Some(name) => signal::parse(name).map_err(|error| {
                    Error::caused(Kind::InvalidArgument, error).context("stop signal")
                })?,
                None => Signal::TERM.as_raw(),
            },
        };
        let grace = timeout
            .or_else(|| {
                configuration
                    .stop_timeout
                    .map(|seconds| Duration::from_secs(seconds.into()))
            })
            .unwrap_or(GRACE);
        entry.show(ContainerState::Stopping);
        power_off::ask(entry, &helper).await;
        let request = runtime::StopRequest {
            signal,
            timeout_ms: u32::try_from(grace.as_millis()).unwrap_or(u32::MAX),
            keep: entry.is_held(),
        };
        let mut client = helper.client();
        // A silent helper has its grace, too: it may only be slow.
        let silent = async {
            tokio::time::sleep(grace).await;
            helper.silent().await;
        };
        let stopped = tokio::select! {
            stopped = client.stop(request) => stopped.is_ok(),
            () = silent => false,
            () = tokio::time::sleep(grace.saturating_add(MARGIN)) => false,
        };
        if !stopped {
            // A helper that does not answer, or died meanwhile: `follow` sees its end.
            entry.kills(Kill::Disobeyed);
            helper.kill().await.map_err(|error| {
                Error::caused(Kind::Internal, error).context(format_args!("stop container {id}"))
            })?;
        }
        entry.ended().await?;
        self.events.tell(Action::Stop, id, []);
        Ok(())
    }

    /// Stops every running container, all at once; gives what went wrong. Those that a policy keeps running
    /// start again with the system.
    pub async fn stop_all(self: &Arc<Self>, grace: Duration) -> Vec<Error> {
        self.ending.store(true, Ordering::Relaxed);
        let running: Vec<Arc<Entry>> = self
            .all()
            .into_iter()
            .filter(|entry| entry.is_active())
            .collect();
        let stops = running
            .iter()
            .map(|entry| self.stop_entry(entry, None, Some(grace)));
        let failures = futures::future::join_all(stops)
            .await
            .into_iter()
            .filter_map(Result::err)
            .collect();
        for entry in self.all() {
            if let Some(opened) = entry.opened.lock().await.as_ref() {
                if let Err(error) = opened.kill().await {
                    tracing::warn!(container = %entry.id, "{error:#}");
                }
            }
        }
        // Whoever waits for what was to be started again waits for nothing.
        for entry in self.all() {
            entry.no_restart();
        }
        failures
    }
}

/// Lets `entry`, which was stopped while it waited to be started again, rest. It may have begun to start: then it
/// is still to be stopped.
async fn give_up_restart(entry: &Entry) {
    let _operation = entry.operation.lock().await;
    if entry.is_restarting() && !entry.is_active() {
        record_by_hand(entry, &mut recorded(entry));
        entry.no_restart();
    }
}
