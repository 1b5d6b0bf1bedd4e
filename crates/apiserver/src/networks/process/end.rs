//! The end of a network's process, and of what it leaves.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use container_api::lock;
use container_api::plugin::{self as plugins, ServiceKind};
use rustix::process::Signal;

use super::NetworkProcess;
use super::keep::PAUSE;

/// How long it may take to take its network down.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to clean what a network has left.
const CLEAN_LIMIT: Duration = Duration::from_secs(5);

impl NetworkProcess {
    /// Has it take its network down, and waits until it has. It does not as long as a machine is there, and cannot where it was
    /// killed: then the next one does, which finds what is left. Who needs it meanwhile waits, and nobody starts it afterwards.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub async fn stop(self: &Arc<Self>) -> std::io::Result<()> {
        self.want(false);
        let mut known = self.known.lock().await;
        let namespace = self.roots.network(&self.name).join("namespace.lock");
        let deadline = tokio::time::Instant::now() + STOP_LIMIT;
        let mut killed = false;
        loop {
            self.end().await?;
            if lock::holder(&namespace)?.is_none() {
                break;
            }
            if tokio::time::Instant::now() >= deadline {
                tracing::warn!(
                    "something of network {} stays: a machine is on it",
                    self.name
                );
                break;
            }
            // A machine that was told to end is gone in a moment; no event of its end comes here.
            tokio::time::sleep(PAUSE.0).await;
            if let Err(error) = self.serve(&mut known.running).await {
                tracing::warn!("{error:#}");
                lock::signal_holder(&namespace, Signal::KILL)?;
                killed = true;
            }
        }
        if killed {
            self.clean().await;
        }
        for path in [
            self.roots.network_socket(&self.name),
            self.roots.network_descriptors(&self.name),
        ] {
            // Already gone is as good.
            let _ = std::fs::remove_file(path);
        }
        known.over = true;
        Ok(())
    }

    /// Takes away what the network has left in the host, if its processes were all killed: rules that lead its ports nowhere.
    pub async fn clean(&self) {
        let plugin = match plugins::service(&self.roots, &self.plugin, ServiceKind::Network) {
            Ok(plugin) => plugin,
            Err(error) => {
                tracing::warn!("network {}: {error:#}", self.name);
                return;
            }
        };
        let mut command = tokio::process::Command::new(plugin.program);
        command
            .arg("clean")
            .arg("--state")
            .arg(self.roots.network(&self.name))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        // It refuses where a process serves the network, which is well then.
        match tokio::time::timeout(CLEAN_LIMIT, command.status()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!("network {}: {error:#}", self.name),
            Err(_) => tracing::warn!("network {}: it is not cleaned in time", self.name),
        }
    }

    /// Ends the process, if there is one.
    async fn end(&self) -> std::io::Result<()> {
        let path = self.lock_path();
        lock::signal_holder(&path, Signal::TERM)?;
        // One that is stopped hears it only when it goes on.
        lock::signal_holder(&path, Signal::CONT)?;
        if tokio::time::timeout(STOP_LIMIT, lock::released(&path))
            .await
            .is_err()
        {
            lock::signal_holder(&path, Signal::KILL)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::start::tests::{process_of, system, write_script};

    #[tokio::test]
    async fn nobody_starts_it_again_once_it_was_stopped() {
        let scratch = tempfile::tempdir().unwrap();
        let (roots, plugin) = system(scratch.path());
        let starts = scratch.path().join("starts");
        write_script(&plugin, &format!("echo again >>{}", starts.display()));
        let process = process_of(&roots);
        process.stop().await.unwrap();
        let error = process.inspect().await.unwrap_err();
        assert_eq!(error.message(), "network web has been taken down");
        assert!(!starts.exists());
    }
}
