//! How a container is treated while it lives: restarts, health checks, what happens at its end.

use serde::{Deserialize, Serialize};

/// When a container is started again by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RestartPolicy {
    /// Never.
    No {},
    /// After a failure, at most `retries` times in a row (absent: without end).
    OnFailure {
        /// The most restarts in a row.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retries: Option<u32>,
    },
    /// Whenever it ends, and when the system starts.
    Always {},
    /// As `Always`, unless it was stopped by hand.
    UnlessStopped {},
    /// When it has rebooted itself, and when the system starts after it ended with the host. For machines: one that was shut down
    /// stays so.
    OnReboot {},
}

/// How a container's health is checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// `["CMD", …]` or `["CMD-SHELL", line]`, as in the image specification's Healthcheck.
    pub test: Vec<String>,
    /// What runs the line of `CMD-SHELL`: the image's `Shell`; empty: `/bin/sh -c`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// Milliseconds between checks.
    pub interval_ms: u64,
    /// Milliseconds a check may take.
    pub timeout_ms: u64,
    /// Milliseconds after the start in which failures do not count.
    pub start_period_ms: u64,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}

/// How a container is to be treated, beside what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateOptions {
    /// Delete it when it has stopped.
    #[serde(default)]
    pub auto_remove: bool,
    /// Boot it cold even where a template fits.
    #[serde(default)]
    pub no_template: bool,
    /// Its first process has a standard input even while no client gives it any: one that attaches may.
    #[serde(default)]
    pub open_stdin: bool,
}
