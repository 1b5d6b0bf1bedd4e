//! What the bundle keeps of a run.

use std::sync::atomic::Ordering;

use container_resource::bundle::{self, Exit, Timeline};
use jiff::Timestamp;

use crate::container::Container;
use crate::process::Ended;

pub(super) fn write_timeline(container: &Container, timeline: &Timeline) {
    write(container, "timeline", || {
        bundle::write_json(&container.bundle.timeline(), timeline)
    });
}

pub(super) fn record(container: &Container, started: Option<Timestamp>, ended: &Ended) {
    let exit = Exit {
        exit_code: ended.exit_code,
        started,
        exited: ended.at,
        reason: ended.reason.clone(),
        oom_killed: ended.oom_killed,
        by_hand: false,
        with_system: false,
    };
    write(container, "exit", || {
        bundle::write_json(&container.bundle.exit(), &exit)
    });
}

/// A record that cannot be written (the disk is full, the bundle was moved away to be deleted) is told of,
/// and the life goes on.
fn write(container: &Container, what: &str, write: impl FnOnce() -> std::io::Result<()>) {
    // Of a container of which nothing runs there is nothing to record.
    if container.idle.load(Ordering::Relaxed) {
        return;
    }
    if let Err(error) = write() {
        tracing::warn!(
            "container {}: cannot write {what}.json: {error:#}",
            container.configuration.id
        );
    }
}
