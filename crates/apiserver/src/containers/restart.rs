//! Restart policies: a container that ends is started again, ever more slowly.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use container_api::request::begun;
use container_resource::bundle::Exit;
use container_resource::container::{ContainerState, RestartPolicy};
use container_resource::event::{Action, Attribute};
use jiff::Timestamp;

use super::entry::Run;
use super::{Containers, Entry};

/// First and longest pause before a restart; each one is twice the one before.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// A container that ran for so long has proved itself: its next restart is quick again.
const PROVED: Duration = Duration::from_secs(10);
/// Exit code of an init that called for a reboot: the kernel ends it with SIGHUP, and with SIGINT when it is to stay down
/// (`pid_namespaces(7)`, `reboot(2)`).
const REBOOTED: i32 = 128 + 1;

impl Containers {
    /// Whether the policy of `entry`, whose run ends with `exit`, starts it again.
    pub fn restarts(&self, entry: &Entry, exit: &Exit) -> bool {
        let configuration = entry.readable();
        let policy = configuration
            .as_ref()
            .and_then(|c| c.restart_policy.as_ref());
        // Its machine's shutting down, which may take longer, proves nothing.
        let down = Timestamp::now().duration_since(exit.exited);
        if entry
            .age()
            .saturating_sub(down.try_into().unwrap_or_default())
            >= PROVED
        {
            entry.status.send_modify(|status| status.restart_count = 0);
        }
        let attempt = entry.status.borrow().restart_count;
        !self.rests(entry) && policy.is_some_and(|policy| again(policy, exit.exit_code, attempt))
    }

    /// Starts `entry`, which has ended, again if its policy says so.
    pub fn restart(self: &Arc<Self>, entry: &Arc<Entry>, exit: &Exit) {
        if !self.restarts(entry, exit) {
            return;
        }
        let waits = entry.status.send_if_modified(|status| {
            // A renamed one waits already; any other state means that it was started by hand meanwhile.
            let rests = matches!(
                status.state,
                ContainerState::Stopped | ContainerState::Restarting
            );
            if rests {
                status.state = ContainerState::Restarting;
            }
            rests
        });
        if waits {
            self.restart_after(entry, entry.run_name());
        }
    }

    /// Starts `entry`, which waits for that since the end of `run`, again after its pause.
    pub fn restart_after(self: &Arc<Self>, entry: &Arc<Entry>, run: String) {
        let (containers, entry) = (self.clone(), entry.clone());
        let attempt = entry.status.borrow().restart_count;
        let again = async move {
            tokio::time::sleep(backoff(attempt)).await;
            let operation = entry.operation.lock().await;
            // Meanwhile it may have been deleted, stopped, or started by hand.
            let overtaken = entry.is_active() || entry.run_name() != run;
            if overtaken || !containers.is_current(&entry) || containers.rests(&entry) {
                return;
            }
            entry
                .status
                .send_modify(|status| status.restart_count = attempt + 1);
            let attributes = [(Attribute::Attempt, (attempt + 1).to_string())];
            containers
                .events
                .tell(Action::Restart, &entry.id, attributes);
            let started = containers.start_entry(&entry, None).await;
            drop(operation);
            if let Err(error) = started {
                tracing::warn!(container = %entry.id, "the container does not restart: {error:#}");
                let exit = entry.ended().await;
                if let Ok(exit) = exit {
                    containers.restart(&entry, &exit);
                }
            }
        };
        tokio::spawn(begun(again));
    }

    /// Whether the policy of `entry` does not start it again now.
    fn rests(&self, entry: &Entry) -> bool {
        entry.is_stopped_by_hand() || entry.is_held() || self.ending.load(Ordering::Relaxed)
    }

    /// Starts `entry` when the system starts, if its policy says so. One that failed, by itself or because the system
    /// ended, and may be started again goes on where it was: after its pause, with its count.
    pub fn resume(self: &Arc<Self>, entry: &Arc<Entry>) {
        // The system may end before every container that was found has been looked at.
        if self.ending.load(Ordering::Relaxed) {
            return;
        }
        let configuration = entry.readable();
        let policy = configuration
            .as_ref()
            .and_then(|c| c.restart_policy.as_ref());
        let starts = match policy {
            Some(RestartPolicy::Always {}) => true,
            Some(RestartPolicy::UnlessStopped {}) => !entry.is_stopped_by_hand(),
            Some(RestartPolicy::OnReboot {}) => {
                !entry.is_stopped_by_hand()
                    && matches!(&*entry.run.borrow(), Run::Ended(exit) if comes_back(exit))
            }
            Some(RestartPolicy::OnFailure { .. }) => {
                if let Run::Ended(exit) = &*entry.run.borrow() {
                    if ran(exit) >= PROVED {
                        entry.status.send_modify(|status| status.restart_count = 0);
                    }
                    self.restart(entry, exit);
                }
                false
            }
            Some(RestartPolicy::No {}) | None => false,
        };
        // One that was only created waits for its first start.
        if !starts || entry.status.borrow().exited_date.is_none() {
            return;
        }
        entry.stop_by_hand(false);
        let (containers, entry) = (self.clone(), entry.clone());
        let start = async move {
            let _operation = entry.operation.lock().await;
            if let Err(error) = containers.start_entry(&entry, None).await {
                tracing::warn!(container = %entry.id, "the container does not start: {error:#}");
            }
        };
        tokio::spawn(begun(start));
    }
}

/// How long a run that was not seen lasted, as far as the host's clock tells.
fn ran(exit: &Exit) -> Duration {
    let ran = exit
        .started
        .map(|started| exit.exited.duration_since(started));
    // It was set back meanwhile.
    ran.and_then(|ran| ran.try_into().ok()).unwrap_or_default()
}

/// Whether a machine that ended so is there again with the system. Nobody saw the end of one that ended with the host.
fn comes_back(exit: &Exit) -> bool {
    exit.with_system || exit.exit_code == REBOOTED || exit.reason.is_some()
}

/// Whether a container that ended with `exit_code`, after `attempt` restarts in a row, is started again.
fn again(policy: &RestartPolicy, exit_code: i32, attempt: u32) -> bool {
    match policy {
        RestartPolicy::No {} => false,
        RestartPolicy::OnFailure { retries } => {
            exit_code != 0 && retries.is_none_or(|retries| attempt < retries)
        }
        RestartPolicy::Always {} | RestartPolicy::UnlessStopped {} => true,
        RestartPolicy::OnReboot {} => exit_code == REBOOTED,
    }
}

fn backoff(attempt: u32) -> Duration {
    BACKOFF
        .0
        .saturating_mul(1_u32.checked_shl(attempt.min(16)).unwrap_or(u32::MAX))
        .min(BACKOFF.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_decide_by_exit_code_and_count() {
        let on_failure = RestartPolicy::OnFailure { retries: Some(2) };
        assert!(!again(&on_failure, 0, 0));
        assert!(again(&on_failure, 1, 1));
        assert!(!again(&on_failure, 1, 2));
        assert!(again(
            &RestartPolicy::OnFailure { retries: None },
            255,
            1000
        ));
        assert!(again(&RestartPolicy::Always {}, 0, 1000));
        assert!(!again(&RestartPolicy::No {}, 1, 0));
        assert!(again(&RestartPolicy::OnReboot {}, 129, 1000));
        assert!(!again(&RestartPolicy::OnReboot {}, 130, 0));
    }

    #[test]
    fn pauses_double_up_to_their_bound() {
        let pauses: Vec<_> = [0, 1, 2, 6, 7, 40, u32::MAX]
            .map(|attempt| backoff(attempt).as_millis())
            .into();
        assert_eq!(pauses, [100, 200, 400, 6400, 10_000, 10_000, 10_000]);
    }
}
