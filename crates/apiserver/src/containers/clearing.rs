//! What is left of containers that are gone: removed behind everything else, and tried again where that fails.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use container_api::lock;
use container_resource::bundle::Bundle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::helper::end_holder;
use crate::disk_usage;

/// First and longest pause before something is tried again; each one is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));

/// Removals that are under way. What fails for want of descriptors, memory or disk is done when there are some; what the
/// end of the system cuts off, the next apiserver finds.
#[derive(Clone, Debug, Default)]
pub struct Clearing {
    tasks: TaskTracker,
    ending: CancellationToken,
}

impl Clearing {
    /// Removes `trash`, a detached bundle, when its helper, whose lock moved with the directory, has ended. One that lives
    /// longer than `grace` is ended.
    pub fn remove(&self, trash: PathBuf, grace: Duration) {
        let what = format!("remove {}", trash.display());
        self.until_done(what, move || remove(trash.clone(), grace));
    }

    /// Tries `attempt`, which does `what`, until it succeeds or the system ends.
    pub fn until_done<F>(&self, what: String, attempt: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let ending = self.ending.clone();
        self.tasks.spawn(async move {
            let mut pause = PAUSES.0;
            while let Err(error) = attempt().await {
                if pause == PAUSES.0 {
                    tracing::warn!("cannot {what} yet: {error:#}");
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = ending.cancelled() => return,
                }
                pause = (pause * 2).min(PAUSES.1);
            }
        });
    }

    /// Waits until everything is removed that can be.
    pub async fn done(&self) {
        self.ending.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn remove(trash: PathBuf, grace: Duration) -> io::Result<()> {
    let lock = Bundle::new(&trash).lock();
    match tokio::time::timeout(grace, lock::released(&lock)).await {
        Ok(released) => released?,
        Err(_) => end_holder(&lock).await?,
    }
    disk_usage::remove(trash).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn what_fails_is_tried_again_until_the_end() {
        let clearing = Clearing::default();
        let (tries, done) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let (counted, rung) = (tries.clone(), done.clone());
        let failure = || Err(io::ErrorKind::OutOfMemory.into());
        clearing.until_done("test".into(), move || {
            let succeeds = counted.fetch_add(1, Ordering::Relaxed) == 2;
            let rung = rung.clone();
            async move {
                if !succeeds {
                    return failure();
                }
                rung.notify_one();
                Ok(())
            }
        });
        clearing.until_done("fail".into(), move || async move { failure() });
        let limit = Duration::from_secs(20);
        tokio::time::timeout(limit, done.notified()).await.unwrap();
        // What fails for ever does not keep the system from ending.
        tokio::time::timeout(limit, clearing.done()).await.unwrap();
        assert_eq!(tries.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_directory_without_a_helper_goes_at_once() {
        let scratch = tempfile::tempdir().unwrap();
        let trash = scratch.path().join("trash");
        std::fs::create_dir(&trash).unwrap();
        std::fs::write(trash.join("upper.ext4"), "x").unwrap();
        let clearing = Clearing::default();
        clearing.remove(trash.clone(), Duration::ZERO);
        clearing.done().await;
        assert!(!trash.exists());
    }
}
