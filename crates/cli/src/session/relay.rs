use std::time::Duration;

use container_api::api::{SignalRequest, StopRequest};
use rustix::process::Signal;

use super::foreground::ProcessRef;
use crate::connection::Containers;

/// How long a process may go on after its end was asked for, before it is killed.
const KILL_AFTER: Duration = Duration::from_secs(5);

/// Hands on to a process what is meant for it, without waiting for the answers: it may be ending just now.
#[derive(Debug)]
pub struct Relay {
    containers: Containers,
    process: ProcessRef,
}

impl Relay {
    /// For `process`.
    pub fn new(containers: Containers, process: ProcessRef) -> Self {
        Self {
            containers,
            process,
        }
    }

    /// Sends `signal`.
    pub fn signal(&self, signal: i32) {
        let mut containers = self.containers.clone();
        let ProcessRef { id, process, .. } = self.process.clone();
        tokio::spawn(async move {
            containers
                .signal(SignalRequest {
                    id,
                    process,
                    signal,
                })
                .await
        });
    }

    /// Has the process end: stops its container where it is the first one.
    pub fn end(&self) {
        let mut containers = self.containers.clone();
        let ProcessRef { id, process, .. } = self.process.clone();
        tokio::spawn(async move {
            if process.is_empty() {
                let request = StopRequest {
                    id,
                    ..StopRequest::default()
                };
                let _ = containers.stop(request).await;
                return;
            }
            for signal in [Signal::TERM, Signal::KILL] {
                let request = SignalRequest {
                    id: id.clone(),
                    process: process.clone(),
                    signal: signal.as_raw(),
                };
                let _ = containers.signal(request).await;
                tokio::time::sleep(KILL_AFTER).await;
            }
        });
    }
}
