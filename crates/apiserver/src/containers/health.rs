//! Health checks: a command in the container, asked again and again.

use std::sync::Arc;
use std::time::Duration;

use container_api::runtime::{ExecRequest, SignalRequest, WaitRequest};
use container_resource::container::{
    ContainerConfiguration, ContainerState, HealthCheck, HealthState, ProcessConfiguration,
};
use container_resource::event::{Action, Attribute};
use futures::FutureExt;
use rustix::process::Signal;
use tokio::time::Instant;

use super::helper::Helper;
use super::{Containers, Entry};

impl Containers {
    /// Checks the health of a container that has just been started, until it ends.
    pub fn watch_health(self: &Arc<Self>, entry: &Arc<Entry>, helper: &Helper) {
        let Some(configuration) = entry.readable() else {
            return;
        };
        let Some(check) = configuration.health_check.clone() else {
            return;
        };
        let Some(command) = command(&check) else {
            return;
        };
        let process = process(&configuration, command);
        let (containers, entry, helper) = (self.clone(), entry.clone(), helper.clone());
        tokio::spawn(async move {
            let mut run = entry.run.subscribe();
            tokio::select! {
                () = containers.check(&entry, &helper, &check, &process) => {}
                _ = run.wait_for(|run| !matches!(run, super::entry::Run::Active)) => {}
            }
        });
    }

    async fn check(
        &self,
        entry: &Entry,
        helper: &Helper,
        check: &HealthCheck,
        process: &ProcessConfiguration,
    ) {
        let begun = Instant::now();
        let mut health = Health {
            state: HealthState::Starting,
            failures: 0,
        };
        self.show_health(entry, health.state);
        loop {
            tokio::time::sleep(Duration::from_millis(check.interval_ms.max(1))).await;
            let limit = Duration::from_millis(check.timeout_ms.max(1));
            let paused = || entry.status.borrow().state == ContainerState::Paused;
            // Frozen processes are neither well nor ill.
            if paused() {
                continue;
            }
            let (passed, hung) = probe(helper, process, limit).await;
            if passed || !paused() {
                let early = begun.elapsed() < Duration::from_millis(check.start_period_ms);
                let before = health.state;
                health.judge(passed, early, check.retries);
                if health.state != before {
                    self.show_health(entry, health.state);
                }
            }
            // Checks that hang must not pile up.
            if let Some(hung) = hung {
                hung.end(helper).await;
            }
        }
    }

    fn show_health(&self, entry: &Entry, state: HealthState) {
        entry
            .status
            .send_modify(|status| status.health = Some(state));
        let attributes = [(Attribute::Health, state.word().to_owned())];
        self.events.tell(Action::Health, &entry.id, attributes);
    }
}

/// What the checks so far say.
#[derive(Clone, Copy, Debug)]
struct Health {
    state: HealthState,
    failures: u32,
}

impl Health {
    /// Takes one more check into account. A failure does not count in the start period (`early`).
    fn judge(&mut self, passed: bool, early: bool, retries: u32) {
        if passed {
            *self = Self {
                state: HealthState::Healthy,
                failures: 0,
            };
        } else if !early || self.state != HealthState::Starting {
            self.failures = self.failures.saturating_add(1);
            if self.failures >= retries.max(1) {
                self.state = HealthState::Unhealthy;
            }
        }
    }
}

/// What runs a line of shell where the image does not say.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// The words of a check (image-spec config.md, Healthcheck), or none where it is switched off. Words after a line of shell are its
/// arguments, as with Docker.
fn command(check: &HealthCheck) -> Option<Vec<String>> {
    let (kind, words) = check.test.split_first()?;
    if words.is_empty() {
        return None;
    }
    match kind.as_str() {
        "CMD" => Some(words.to_vec()),
        "CMD-SHELL" if check.shell.is_empty() => {
            let shell = SHELL.map(str::to_owned);
            Some([shell.as_slice(), words].concat())
        }
        "CMD-SHELL" => Some([check.shell.as_slice(), words].concat()),
        _ => None,
    }
}

fn process(configuration: &ContainerConfiguration, mut words: Vec<String>) -> ProcessConfiguration {
    let executable = words.remove(0);
    ProcessConfiguration {
        executable,
        arguments: words,
        terminal: false,
        ..configuration.init_process.clone()
    }
}

/// A check that has not ended in its time.
struct Hung<S> {
    id: String,
    /// Whether it came to run at all.
    started: S,
}

impl<S: Future<Output = bool>> Hung<S> {
    /// Ends it. It may not even run yet: then it is waited for, as a process that does not exist cannot be ended.
    async fn end(self, helper: &Helper) {
        if !self.started.await {
            return;
        }
        let request = SignalRequest {
            process: self.id,
            signal: Signal::KILL.as_raw(),
        };
        // It may have ended by itself, or with its container.
        let _ = helper
            .call(|mut client| async move { client.signal(request).await })
            .await;
    }
}

/// Whether `process` ends with success within `limit`, and what is left of it.
async fn probe(
    helper: &Helper,
    process: &ProcessConfiguration,
    limit: Duration,
) -> (bool, Option<Hung<impl Future<Output = bool> + use<>>>) {
    let id = format!("health-{}", uuid::Uuid::new_v4());
    let Ok(configuration) = serde_json::to_vec(process) else {
        return (false, None);
    };
    let request = ExecRequest {
        process: id.clone(),
        configuration: configuration.into(),
        stdio: None,
        apart: true,
    };
    let (mut execs, mut waits) = (helper.client(), helper.client());
    let exec = async move { execs.exec(request).await.is_ok() };
    let started = exec.boxed().shared();
    let running = started.clone();
    let ended = async {
        let request = WaitRequest {
            process: id.clone(),
        };
        running.await
            && waits
                .wait(request)
                .await
                .is_ok_and(|reply| reply.into_inner().exit_code == 0)
    };
    match tokio::time::timeout(limit, ended).await {
        Ok(passed) => (passed, None),
        Err(_) => (false, Some(Hung { id, started })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_after_the_start_period_and_a_success_forgives() {
        let mut health = Health {
            state: HealthState::Starting,
            failures: 0,
        };
        for _ in 0..5 {
            health.judge(false, true, 2);
        }
        assert_eq!(health.state, HealthState::Starting);
        health.judge(false, false, 2);
        assert_eq!(health.state, HealthState::Starting);
        health.judge(false, false, 2);
        assert_eq!(health.state, HealthState::Unhealthy);
        health.judge(true, false, 2);
        assert_eq!(health.state, HealthState::Healthy);
        health.judge(false, true, 1);
        assert_eq!(health.state, HealthState::Unhealthy);
    }

    #[test]
    fn commands_are_those_of_the_image_specification() {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let words = |test: &[&str], shell: &[&str]| {
            command(&HealthCheck {
                test: owned(test),
                shell: owned(shell),
                interval_ms: 1,
                timeout_ms: 1,
                start_period_ms: 0,
                retries: 1,
            })
        };
        assert_eq!(words(&["CMD", "a", "b"], &["x"]).unwrap(), ["a", "b"]);
        for (shell, expected) in [
            (&[][..], &["/bin/sh", "-c", "a b", "c"][..]),
            (&["/bin/ash", "-ec"], &["/bin/ash", "-ec", "a b", "c"]),
        ] {
            assert_eq!(words(&["CMD-SHELL", "a b", "c"], shell).unwrap(), expected);
        }
        for none in [&["NONE"][..], &[], &["CMD"], &["CMD-SHELL"]] {
            assert_eq!(words(none, &[]), None);
        }
    }
}
