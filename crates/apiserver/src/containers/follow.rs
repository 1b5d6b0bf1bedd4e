//! From a started helper to the end of its container.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use container_api::runtime::WaitRequest;
use container_api::types;
use container_resource::bundle::{self, Exit};
use container_resource::container::ContainerState;
use container_resource::event::{Action, Attribute};
use jiff::Timestamp;
use tokio_util::task::AbortOnDropHandle;

use super::entry::Kill;
use super::helper::Helper;
use super::{Containers, Entry, bundles};

/// Exit code of a container whose end nobody saw.
const LOST: i32 = 255;
/// Exit code of a container whose machine was ended on purpose: 128 + SIGKILL.
pub const KILLED: i32 = 137;
/// How long a helper may take to end after it said that its container had ended.
const LINGER: Duration = Duration::from_secs(30);

impl Containers {
    /// Waits for the end of a running container, tells it, and cleans up after it.
    pub async fn follow(self: Arc<Self>, entry: Arc<Entry>, helper: Helper) {
        let room = tokio::spawn(self.clone().watch_room(entry.clone(), helper.clone()));
        let room = AbortOnDropHandle::new(room);
        let reply = helper
            .client()
            .wait(WaitRequest {
                process: String::new(),
            })
            .await;
        drop(room);
        let mut exit = match reply {
            Ok(reply) => Exit {
                started: entry.status.borrow().started_date,
                ..exit(&reply.into_inner())
            },
            Err(status) => {
                tracing::debug!(container = %entry.id, "{}", status.message());
                self.let_end(&entry, &helper).await;
                recorded(&entry)
            }
        };
        if entry.options.auto_remove && !entry.is_held() {
            // The name is free before the client hears of the end; the machine dies meanwhile.
            match bundles::detach(&self.roots, &entry.bundle) {
                Ok(trash) => {
                    self.clearing.remove(trash, LINGER);
                    self.departed.add(entry.run_name(), exit.clone());
                    self.networks.leave(&entry.id);
                    self.release(&entry);
                    self.remove_anonymous_volumes(&entry).await;
                    self.tell_end(&entry, exit, ContainerState::Stopped);
                    self.events.tell(Action::Delete, &entry.id, []);
                    return;
                }
                // It is listed as long as it is there.
                Err(error) => {
                    tracing::warn!(container = %entry.id, "cannot remove the container: {error:#}");
                    self.delete_later(&entry);
                }
            }
        }
        if tokio::time::timeout(LINGER, helper.gone()).await.is_err() {
            self.kill(&entry, &helper).await;
        }
        remove_sockets(&entry);
        self.networks.ends(&entry.id);
        if entry.is_stopped_by_hand() {
            record_by_hand(&entry, &mut exit);
        } else if self.ending.load(Ordering::Relaxed) {
            exit.with_system = true;
            record(&entry, &exit);
        }
        let run = entry.run_name();
        let restarts = self.restarts(&entry, &exit);
        // Nobody sees it stopped that is about to be started again.
        let state = if restarts || entry.is_held() {
            ContainerState::Restarting
        } else {
            ContainerState::Stopped
        };
        self.tell_end(&entry, exit, state);
        if restarts {
            self.restart_after(&entry, run);
        }
    }

    /// Lets the helper end, which has nothing else to do; one that does not is ended.
    pub async fn let_end(&self, entry: &Entry, helper: &Helper) {
        if tokio::time::timeout(LINGER, helper.gone()).await.is_err() {
            tracing::warn!(container = %entry.id, "the runtime helper lives but does not answer");
            self.kill(entry, helper).await;
        }
    }

    async fn kill(&self, entry: &Entry, helper: &Helper) {
        if let Err(error) = helper.kill().await {
            tracing::error!(container = %entry.id, "{error:#}");
        }
    }

    fn tell_end(&self, entry: &Entry, exit: Exit, state: ContainerState) {
        let reason = exit.reason.clone();
        let reason = reason.map(|reason| (Attribute::Reason, reason));
        let attributes = [(Attribute::ExitCode, exit.exit_code.to_string())];
        let attributes = attributes.into_iter().chain(reason);
        if exit.oom_killed {
            self.events.tell(Action::Oom, &entry.id, []);
        }
        entry.end(exit, state);
        self.events.tell(Action::Die, &entry.id, attributes);
    }
}

/// How a process has ended, as a helper tells.
pub fn exit(reply: &types::Exit) -> Exit {
    Exit {
        exit_code: reply.exit_code,
        started: None,
        exited: Timestamp::from_millisecond(reply.exited_ms).unwrap_or_else(|_| Timestamp::now()),
        reason: Some(reply.reason.clone()).filter(|reason| !reason.is_empty()),
        oom_killed: reply.oom_killed,
        by_hand: false,
        with_system: false,
    }
}

/// What the helper wrote before it ended, else that it did not write anything.
pub fn recorded(entry: &Entry) -> Exit {
    bundle::read_json(&entry.bundle.exit()).unwrap_or_else(|_| {
        let (exit_code, reason) = match entry.killed() {
            None => (LOST, Some("the runtime helper died")),
            Some(Kill::Deleted) => (KILLED, None),
            Some(Kill::Disobeyed) => (KILLED, Some("killed: its runtime helper did not obey")),
        };
        let exit = Exit {
            exit_code,
            started: entry.status.borrow().started_date,
            exited: Timestamp::now(),
            reason: reason.map(str::to_owned),
            oom_killed: false,
            by_hand: false,
            with_system: false,
        };
        if let Err(error) = bundle::write_json(&entry.bundle.exit(), &exit) {
            tracing::debug!(container = %entry.id, "cannot write exit.json: {error:#}");
        }
        exit
    })
}

/// Keeps that somebody asked for this end: the next apiserver has to know.
pub fn record_by_hand(entry: &Entry, exit: &mut Exit) {
    exit.by_hand = true;
    record(entry, exit);
}

fn record(entry: &Entry, exit: &Exit) {
    if let Err(error) = bundle::write_json(&entry.bundle.exit(), exit) {
        tracing::warn!(container = %entry.id, "cannot write exit.json: {error:#}");
    }
}

/// What a helper that was killed leaves behind.
pub fn remove_sockets(entry: &Entry) {
    for path in [entry.bundle.socket(), entry.bundle.descriptors()] {
        // A helper that ended by itself has removed them.
        let _ = std::fs::remove_file(path);
    }
}
