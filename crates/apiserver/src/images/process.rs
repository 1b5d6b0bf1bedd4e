//! The service's process: started when it is not there, ended when it stays silent, started again.

use std::time::Duration;

use container_api::{Chain, liveness, lock, socket};
use rustix::process::{Pid, Signal};

use super::{Images, PLUGIN};
use crate::plugin;
use crate::trouble::Trouble;

/// First and longest pause before a service that died is started again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// How often the service is asked whether it is there.
const LOOK: Duration = Duration::from_secs(10);
/// How long it may be silent before it is ended. Callers are told much sooner ([`liveness::PATIENCE`]).
const SILENCE: Duration = Duration::from_secs(20);
/// How long the service may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

impl Images {
    /// Keeps the service running until [`Self::stop`].
    pub async fn supervise(self) {
        let _supervised = self.supervised.lock().await;
        let mut pause = BACKOFF.0;
        while !*self.stopping.borrow() {
            let begun = tokio::time::Instant::now();
            let ran = self.run().await;
            self.listened.send_replace(false);
            if begun.elapsed() > BACKOFF.1 {
                pause = BACKOFF.0;
                self.failures.send_replace(Trouble::default());
            }
            match ran {
                Ok(()) => tracing::info!("{PLUGIN} ended"),
                Err(error) => {
                    let message = Chain(&error).to_string();
                    tracing::error!("{PLUGIN}: {message}");
                    self.failures.send_modify(|failures| failures.add(message));
                }
            }
            let mut stopping = self.stopping.subscribe();
            // Either way the loop looks again.
            let _ = tokio::time::timeout(pause, stopping.wait_for(|stopping| *stopping)).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    /// Adopts the running service or starts one; returns when it has ended.
    async fn run(&self) -> std::io::Result<()> {
        let path = self.lock_path();
        if lock::holder(&path)?.is_some() {
            tracing::info!("{PLUGIN} is running already");
            self.listened.send_replace(true);
            return tokio::select! {
                released = lock::released(&path) => released,
                () = self.silence() => lock::signal_holder(&path, Signal::KILL).map(drop),
            };
        }
        // The main one last: who can connect to it finds the other one, too.
        let descriptors = socket::bind(&self.roots.images_descriptors())?;
        let main = socket::bind(&self.roots.images_socket())?;
        self.listened.send_replace(true);
        let log = container_files::log(&self.log_path())?;
        let mut command = std::process::Command::new(self.roots.plugin(PLUGIN));
        command.arg("start").arg("--app-root").arg(&self.roots.app);
        command.arg("--runtime-root").arg(&self.roots.runtime);
        if self.debug {
            command.arg("--debug");
        }
        let listeners = [main.into(), descriptors.into()];
        let mut child = plugin::spawn(command, listeners, Vec::new(), log)?;
        let mut stopping = self.stopping.subscribe();
        let ended = tokio::select! {
            status = child.wait() => Some(status?),
            () = self.silence() => {
                child.start_kill()?;
                None
            }
            // The sender is our own.
            _ = stopping.wait_for(|stopping| *stopping) => None,
        };
        let Some(status) = ended else {
            // Whoever stops it finds it by its lock, to which it may not have come yet.
            let id = child.id().and_then(|id| i32::try_from(id).ok());
            if let Some(pid) = id.and_then(Pid::from_raw) {
                // One that was silent is killed already.
                rustix::process::kill_process(pid, Signal::TERM)?;
            }
            return child.wait().await.map(drop);
        };
        if status.success() {
            Ok(())
        } else {
            Err(std::io::Error::other(status.to_string()))
        }
    }

    /// Ends when the service has been silent for too long.
    async fn silence(&self) {
        liveness::silence(&self.roots.images_socket(), LOOK, SILENCE).await;
        let seconds = SILENCE.as_secs();
        tracing::error!("{PLUGIN} has not answered for {seconds} s: it is ended");
    }

    /// Ends the service.
    pub async fn stop(&self) -> std::io::Result<()> {
        self.stopping.send_replace(true);
        let path = self.lock_path();
        lock::signal_holder(&path, Signal::TERM)?;
        // One that is stopped hears it only when it goes on.
        lock::signal_holder(&path, Signal::CONT)?;
        let gone = async {
            // One that was started just now has no lock that could be waited for.
            let _supervised = self.supervised.lock().await;
            lock::released(&path).await
        };
        if tokio::time::timeout(STOP_TIMEOUT, gone).await.is_err() {
            lock::signal_holder(&path, Signal::KILL)?;
        }
        for path in [self.roots.images_socket(), self.roots.images_descriptors()] {
            // Already gone is as good.
            let _ = std::fs::remove_file(path);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};

    use container_api::roots::Roots;

    use super::*;

    /// A system below `path` whose image service is `script`.
    fn install(path: &Path, script: &str) -> Roots {
        let mut roots = Roots::new(path.join("app"), path.join("prefix"), None).unwrap();
        roots.runtime = path.join("run");
        roots.create().unwrap();
        let program = roots.plugin(PLUGIN);
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        roots
    }

    #[tokio::test]
    async fn a_service_without_its_lock_is_stopped_too() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path();
        let started = path.join("started");
        // What is opened for writing waits for its reader.
        rustix::fs::mkfifoat(rustix::fs::CWD, &started, rustix::fs::Mode::RWXU).unwrap();
        let script = format!(
            "#!/bin/sh\necho $$ >{}\nexec sleep 1000\n",
            started.display()
        );
        let images = Images::new(install(path, &script), false);
        tokio::spawn(images.clone().supervise());
        let pid = tokio::fs::read_to_string(&started).await.unwrap();
        let process = PathBuf::from("/proc").join(pid.trim());
        assert!(process.exists());
        images.stop().await.unwrap();
        assert!(!process.exists());
    }

    #[tokio::test]
    async fn a_service_that_ends_again_and_again_is_told_of() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path();
        let images = Images::new(install(path, "#!/bin/sh\nexit 3\n"), false);
        assert!(images.trouble().is_none());
        let begun = tokio::time::Instant::now();
        tokio::spawn(images.clone().supervise());
        let mut failures = images.failures.subscribe();
        failures
            .wait_for(|lately| lately.failures >= 3)
            .await
            .unwrap();
        // Each pause is longer than the one before.
        assert!(begun.elapsed() >= BACKOFF.0 * 3);
        let trouble = images.trouble().unwrap();
        assert_eq!(trouble.message, "exit status: 3");
        images.stop().await.unwrap();
    }
}
