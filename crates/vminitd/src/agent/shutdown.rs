//! Shutdown: nothing runs, nothing is unwritten, and the host has its answer before the machine goes.

use std::path::Path;
use std::time::Duration;

use super::{Agent, Container};
use crate::boot::UPPER;
use crate::container::{close_upper, close_volumes};
use crate::fatal::say;

/// How long killed processes may take to go. The kernel reaps at once unless a device hangs.
const PATIENCE: Duration = Duration::from_secs(5);

impl Agent {
    /// Ends the container and closes its volumes. Faults are reported on the console and hold nothing up.
    pub async fn give_volumes_up(&self) {
        let container = self.state().container.clone();
        if let Some(container) = container {
            self.end(&container).await;
        }
        self.growth.stop();
        let leftover = std::mem::take(&mut self.state().leftover);
        leftover.give_back(|place| place != Path::new(UPPER));
        self.state().leftover = leftover;
        for error in close_volumes() {
            say(&format!("cannot close a volume: {error}"));
            rustix::fs::sync();
        }
    }

    /// Ends the container and closes its disks. Faults are reported on the console and hold nothing up.
    pub async fn shut_down(&self) {
        self.give_volumes_up().await;
        // Nothing is left in it: this unmounts it.
        let root = self.state().root.take();
        drop(root);
        if self.state().has_upper_disk {
            let leftover = std::mem::take(&mut self.state().leftover);
            leftover.give_back(|place| place == Path::new(UPPER));
            if let Err(error) = close_upper() {
                say(&format!("cannot close the writable layer: {error}"));
                rustix::fs::sync();
            }
        }
        self.shut_down.send_replace(true);
    }

    /// Kills every process of `container` and waits until they are gone.
    pub(super) async fn end(&self, container: &Container) {
        if let Err(error) = container.cgroup.kill() {
            say(&format!("cannot kill the container's processes: {error}"));
        }
        let running = self.state().processes.all();
        for process in &running {
            // Operations on files are in no group of the container's. What has ended needs no signal.
            let _ = process.signal(libc::SIGKILL);
        }
        let all_ended = async {
            for process in running {
                process.ended().await;
            }
        };
        if tokio::time::timeout(PATIENCE, all_ended).await.is_err() {
            say("the container's processes do not end");
        }
    }

    /// Whether the machine is about to go.
    pub fn is_shut_down(&self) -> bool {
        *self.shut_down.borrow()
    }

    /// Waits for [`Agent::shut_down`] to be done.
    pub async fn shutting_down(&self) {
        // The sender lives as long as `self`, so there is no error.
        let _ = self.shut_down.subscribe().wait_for(|done| *done).await;
    }
}
