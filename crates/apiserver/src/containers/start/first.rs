//! The first process of a container: started by its helper, followed from there.

use std::sync::Arc;
use std::time::Duration;

use container_api::request::Channel;
use container_api::runtime::runtime_client::RuntimeClient;
use container_api::{Error, Kind, protocol, runtime};
use container_resource::bundle::Timeline;
use container_resource::container::ContainerState;
use container_resource::event::{Attribute, Origin};
use jiff::Timestamp;

use crate::containers::entry::Kill;
use crate::containers::follow::{record_by_hand, recorded, remove_sockets};
use crate::containers::helper::{Helper, Lent};
use crate::containers::{Containers, Entry};

/// How long a start may take. The helper's own bounds end it earlier, with a better reason.
const START_TIMEOUT: Duration = Duration::from_secs(180);
/// How long a helper may take to end after its start failed.
const GOODBYE: Duration = Duration::from_secs(5);

/// A first process that runs, as its helper tells.
#[derive(Debug)]
pub struct FirstProcess {
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
    pub fn attributes(&self, requested_us: i64) -> [(Attribute, String); 2] {
        let took = (self.at.as_microsecond() - requested_us).max(0) / 1000;
        [
            (Attribute::Machine, self.origin.word().to_owned()),
            (Attribute::Milliseconds, took.to_string()),
        ]
    }
}

impl Containers {
    /// Has the helper of `entry`, which boots, start the first process, and follows it from there.
    pub(in crate::containers) async fn first_process(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        helper: Helper,
        lent: Option<Lent>,
    ) -> Result<FirstProcess, Error> {
        match self.start_process(&helper, lent).await {
            Ok(first) => {
                entry.running(first.at);
                self.watch_health(entry, &helper);
                tokio::spawn(self.clone().follow(entry.clone(), helper));
                Ok(first)
            }
            Err(error) => {
                let error = self.start_failed(entry, &helper, error).await;
                Err(self.name_holder(entry, error))
            }
        }
    }

    /// Cleans up after a start that failed; gives the best reason there is.
    pub(super) async fn start_failed(&self, entry: &Entry, helper: &Helper, error: Error) -> Error {
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

    pub(in crate::containers) async fn start_process(
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
}

/// Asks a helper what it speaks.
///
/// # Errors
/// When that is not understood.
pub async fn check_protocol(entry: &Entry, helper: &Helper) -> Result<(), Error> {
    let ask = |mut client: RuntimeClient<Channel>| async move {
        client.state(runtime::StateRequest::default()).await
    };
    let told = helper.call(ask).await?.protocol;
    if protocol::understands(told) {
        return Ok(());
    }
    let configuration = entry.configuration()?;
    let runtime = &configuration.runtime_handler;
    let text = format!(
        "runtime plugin '{runtime}' speaks protocol {told}, and the container system service {}",
        protocol::CURRENT
    );
    let hint = "Install a plugin that was made for this version of container.";
    Err(Error::new(Kind::Unsupported, text).with_hint(hint))
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
}
