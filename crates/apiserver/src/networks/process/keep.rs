//! A network's process is started again when it dies while containers are on the network.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::NetworkProcess;
use crate::trouble::Trouble;

/// The first and the longest pause before it is started again.
pub(super) const PAUSE: (Duration, Duration) =
    (Duration::from_millis(200), Duration::from_secs(30));
/// After this long without a failure, earlier failures no longer count.
const CALM: Duration = Duration::from_secs(60);

/// Ends of a process that was wanted.
#[derive(Debug, Default)]
pub(super) struct Failed {
    lately: Trouble,
    last: Option<Instant>,
    /// Why it could not be started, as long as nobody has since.
    broken: Option<String>,
}

impl Failed {
    fn is_over(&self) -> bool {
        self.last.is_none_or(|last| last.elapsed() > CALM)
    }

    fn add(&mut self, message: String) {
        if self.is_over() {
            self.lately = Trouble::default();
        }
        self.lately.add(message);
        self.last = Some(Instant::now());
    }
}

impl Drop for NetworkProcess {
    fn drop(&mut self) {
        // Whoever keeps it running has nothing more to do.
        self.died.notify_one();
    }
}

/// Starts a process again when it has died, for containers that are on its network.
pub(super) async fn keep(process: Weak<NetworkProcess>, died: Arc<Notify>) {
    let mut pause = PAUSE.0;
    let mut begun = Instant::now();
    loop {
        died.notified().await;
        if begun.elapsed() > PAUSE.1 {
            pause = PAUSE.0;
        }
        tokio::time::sleep(pause).await;
        let Some(process) = process.upgrade() else {
            return;
        };
        if !*process.wanted.borrow() {
            continue;
        }
        let name = &process.name;
        tracing::warn!("the process of network {name} has ended: it is started again");
        begun = Instant::now();
        pause = (pause * 2).min(PAUSE.1);
        let mut message = "its process has ended".to_owned();
        let mut broken = None;
        if let Err(error) = process.serving().await {
            tracing::error!("{error:#}");
            message = error.message();
            broken = Some(message.clone());
            // There may be no process whose end would ring.
            died.notify_one();
        }
        process.failed.send_modify(|failed| {
            failed.broken = broken;
            failed.add(message);
        });
    }
}

impl NetworkProcess {
    /// That it ends again and again, though containers are on its network.
    pub fn trouble(&self) -> Option<Trouble> {
        let failed = self.failed.borrow();
        failed.lately.told().filter(|_| !failed.is_over())
    }

    /// Why it could not be started when that was tried last: it is tried again after a pause.
    pub(super) fn broken(&self) -> Option<String> {
        self.failed.borrow().broken.clone()
    }

    /// Whether it has to be there.
    pub fn want(&self, wanted: bool) {
        self.wanted.send_replace(wanted);
    }

    /// Whether it has to be there.
    pub fn is_wanted(&self) -> bool {
        *self.wanted.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::super::start::tests::{process_of, system, write_script};
    use super::*;

    #[tokio::test]
    async fn a_process_that_ends_again_and_again_is_told_of() {
        let scratch = tempfile::tempdir().unwrap();
        let (roots, plugin) = system(scratch.path());
        write_script(&plugin, "echo 'no bridge' >&5");
        let process = process_of(&roots);
        assert!(process.trouble().is_none());
        let begun = Instant::now();
        process.want(true);
        process.died.notify_one();
        let mut failed = process.failed.subscribe();
        let often = |failed: &Failed| failed.lately.failures >= 3;
        failed.wait_for(often).await.unwrap();
        // Each pause is longer than the one before.
        assert!(begun.elapsed() >= PAUSE.0 * 7);
        let trouble = process.trouble().unwrap();
        assert_eq!(trouble.message, "network web: no bridge");
        // Who looks at the network does not start it.
        let starts = scratch.path().join("starts");
        write_script(&plugin, &format!("echo again >>{}", starts.display()));
        process.want(false);
        let error = process.inspect_present().await.unwrap_err();
        assert_eq!(error.message(), "network web: no bridge");
        assert!(!starts.exists());
        process.want(false);
    }
}
