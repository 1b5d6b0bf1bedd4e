//! The end of a container, on demand.

use std::sync::atomic::Ordering;
use std::time::Duration;

use container_api::guest::FreezeRequest;

use super::{Container, answer};
use crate::limits::limit;

/// How long processes may take to be gone after SIGKILL before the machine itself is ended.
const KILL_TIMEOUT: Duration = limit(5);

impl Container {
    /// Asks the first process to end with `signal`, kills every process after `grace`, then ends the machine. Returns when that is
    /// gone. With `keep` it will be started again: what it wrote is kept, even of one that deletes itself.
    pub async fn stop(&self, signal: i32, grace: Duration, keep: bool) {
        if keep {
            self.keep.store(true, Ordering::Relaxed);
        }
        self.stopping.send_replace(true);
        self.thaw().await;
        let stopped = async {
            // Why it ended is told to whoever waits for it.
            let _ = self.stopped().await;
        };
        tokio::pin!(stopped);
        for (kill, wait) in [(false, grace), (true, KILL_TIMEOUT)] {
            // A guest that hangs takes its time from the same span.
            let step = async {
                self.booted().await;
                let sent = match (kill, grace.is_zero()) {
                    (true, _) => self.signal_all(libc::SIGKILL).await,
                    (false, false) => self.signal("", signal).await,
                    (false, true) => Ok(()),
                };
                if let Err(error) = sent {
                    tracing::debug!("stop: {error:#}");
                }
                (&mut stopped).await;
            };
            if tokio::time::timeout(wait, step).await.is_ok() {
                return;
            }
            // A guest that stands still hears of no signal.
            if self.waits_for_room() {
                break;
            }
            // A client that reads nothing (Ctrl-S, Ctrl-Z) has had its time, and is no reason to cut the machine off.
            let exited = self.process("").is_ok_and(|first| first.let_clients_go());
            if exited {
                return stopped.await;
            }
        }
        self.kill_machine.notify_one();
        stopped.await;
    }

    /// Frozen processes take no signal but SIGKILL.
    async fn thaw(&self) {
        if !*self.paused.borrow() {
            return;
        }
        if let Ok(guest) = self.guest() {
            // If this fails the kill that follows does it.
            let _ = answer(guest.calls().freeze(FreezeRequest { frozen: false })).await;
            self.paused.send_replace(false);
        }
    }
}
