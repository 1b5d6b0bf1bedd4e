//! Services of plugins that run as long as the system does (`loadAtBoot`, docs/plugins.md): started again when they end, with growing
//! pauses.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use container_api::Chain;
use container_api::plugin::{self, Plugin, ServiceKind, ServicesConfig};
use container_api::roots::Roots;
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::manager;
use crate::trouble::Trouble;

/// First and longest pause before a service that ended is started again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// How long a service may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The services of others that run beside the system.
#[derive(Clone, Debug)]
pub struct Auxiliary {
    services: Arc<Vec<Service>>,
    stopping: Arc<watch::Sender<bool>>,
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

/// An auxiliary service.
#[derive(Clone, Debug)]
struct Service {
    plugin: Plugin,
    config: ServicesConfig,
    roots: Roots,
    /// How often it has failed in a row, and how it did the last time.
    failures: Arc<watch::Sender<Trouble>>,
}

impl Auxiliary {
    /// Those that the prefix of `roots` has. None runs yet.
    pub fn find(roots: &Roots) -> Self {
        let service = |plugin: Plugin| {
            let manifest = match plugin.manifest() {
                Ok(manifest) => manifest?,
                Err(error) => {
                    tracing::warn!("plugin {} is left out: {}", plugin.name, Chain(&error));
                    return None;
                }
            };
            let config = manifest.services?;
            config.starts_with_the_system().then(|| Service {
                plugin,
                config,
                roots: roots.clone(),
                failures: Arc::default(),
            })
        };
        let found = plugin::all(&roots.install).into_iter().filter_map(service);
        Self {
            services: Arc::new(found.collect()),
            stopping: Arc::default(),
            tasks: Arc::default(),
        }
    }

    /// Starts all of them, and keeps them running until [`Self::stop`].
    pub fn start(&self) {
        let start = |service: &Service| {
            let service = service.clone();
            tokio::spawn(service.supervise(self.stopping.subscribe()))
        };
        self.tasks().extend(self.services.iter().map(start));
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that end again and again, by name.
    pub fn troubles(&self) -> Vec<(String, Trouble)> {
        let trouble = |service: &Service| {
            let trouble = service.failures.borrow().told()?;
            Some((service.plugin.name.clone(), trouble))
        };
        self.services.iter().filter_map(trouble).collect()
    }

    /// Ends them.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        let tasks: Vec<_> = self.tasks().drain(..).collect();
        futures::future::join_all(tasks).await;
    }
}

impl Service {
    async fn supervise(self, mut stopping: watch::Receiver<bool>) {
        let name = &self.plugin.name;
        let mut pause = BACKOFF.0;
        while !*stopping.borrow() {
            let begun = tokio::time::Instant::now();
            let ended = self.run(&mut stopping).await;
            if *stopping.borrow() {
                return;
            }
            if begun.elapsed() > BACKOFF.1 {
                pause = BACKOFF.0;
                self.failures.send_replace(Trouble::default());
            }
            let message = match ended {
                Ok(status) => status.to_string(),
                Err(error) => Chain(&error).to_string(),
            };
            tracing::error!("plugin {name} has ended: {message}");
            self.failures.send_modify(|failures| failures.add(message));
            // Either way the loop looks again.
            let _ = tokio::time::timeout(pause, stopping.wait_for(|stopping| *stopping)).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    /// Runs it to its end, or until the system stops.
    async fn run(
        &self,
        stopping: &mut watch::Receiver<bool>,
    ) -> std::io::Result<std::process::ExitStatus> {
        let mut child = self.spawn()?;
        // Whoever waits for a child closes its input first, unless it has none.
        let input = child.stdin.take();
        tokio::select! {
            status = child.wait() => return status,
            // The sender lives as long as the system.
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = id.and_then(Pid::from_raw) {
            rustix::process::kill_process(pid, Signal::TERM)?;
        }
        // Its standard input ends here.
        drop(input);
        if let Ok(status) = tokio::time::timeout(STOP_TIMEOUT, child.wait()).await {
            return status;
        }
        child.kill().await?;
        child.wait().await
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let Roots {
            app, install, log, ..
        } = &self.roots;
        let output = container_files::log(&log.join(format!("{}.log", self.plugin.name)))?;
        let mut command = Command::new(self.plugin.program());
        command
            .args(&self.config.default_arguments)
            .env("CONTAINER_APP_ROOT", app)
            .env("CONTAINER_INSTALL_ROOT", install)
            .env("CONTAINER_RUNTIME_ROOT", &self.roots.runtime)
            .current_dir("/")
            // It ends when this process does, however that is: a service that is left would meet the one of the next apiserver.
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .kill_on_drop(true);
        for variable in manager::VARIABLES {
            command.env_remove(variable);
        }
        let kinds: Vec<String> = self
            .config
            .kinds()
            .map(|kind: ServiceKind| kind.to_string())
            .collect();
        tracing::info!(
            "plugin {} is started ({})",
            self.plugin.name,
            kinds.join(", ")
        );
        command.spawn()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::trouble::MANY;

    fn install(roots: &Roots, name: &str, manifest: &str, script: &str) {
        let directory = roots.install.join("libexec/container-plugins").join(name);
        std::fs::create_dir_all(directory.join("bin")).unwrap();
        std::fs::write(directory.join("config.toml"), manifest).unwrap();
        let program = directory.join("bin").join(name);
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    }

    fn roots(path: &Path) -> Roots {
        let roots = Roots::new(path.join("app"), path.join("prefix"), None).unwrap();
        std::fs::create_dir_all(&roots.log).unwrap();
        roots
    }

    const AT_BOOT: &str = "[servicesConfig]\nloadAtBoot = true\ndefaultArguments = [\"go\"]\n\
        [[servicesConfig.services]]\ntype = \"auxiliary\"\n";

    #[tokio::test]
    async fn a_service_starts_with_the_system_is_told_the_roots_and_ends_with_it() {
        let scratch = tempfile::tempdir().unwrap();
        let roots = roots(scratch.path());
        let told = scratch.path().join("told");
        // What is opened for writing waits for its reader.
        rustix::fs::mkfifoat(rustix::fs::CWD, &told, rustix::fs::Mode::RWXU).unwrap();
        let script = format!(
            "#!/bin/sh\necho \"$$ $1 $CONTAINER_APP_ROOT\" >{}\nexec cat\n",
            told.display()
        );
        install(&roots, "beside", AT_BOOT, &script);
        install(&roots, "idle", "abstract = \"a command\"\n", "#!/bin/sh\n");
        install(&roots, "broken", "abstract = 1\n", "#!/bin/sh\n");
        let auxiliary = Auxiliary::find(&roots);
        auxiliary.start();
        let line = tokio::fs::read_to_string(&told).await.unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[1..], ["go", roots.app.to_str().unwrap()]);
        let process = Path::new("/proc").join(words[0]);
        // It reads its input, which is there as long as the system is.
        let mut failures = auxiliary.services[0].failures.subscribe();
        let ended = tokio::time::timeout(BACKOFF.0, failures.changed()).await;
        assert!(ended.is_err() && process.exists());
        auxiliary.stop().await;
        assert!(!process.exists());
    }

    #[tokio::test]
    async fn one_that_ends_again_and_again_is_told_of() {
        let scratch = tempfile::tempdir().unwrap();
        let roots = roots(scratch.path());
        install(&roots, "beside", AT_BOOT, "#!/bin/sh\nexit 3\n");
        let auxiliary = Auxiliary::find(&roots);
        auxiliary.start();
        let mut failures = auxiliary.services[0].failures.subscribe();
        failures
            .wait_for(|lately| lately.failures >= MANY)
            .await
            .unwrap();
        let troubles = auxiliary.troubles();
        assert_eq!(troubles[0].0, "beside");
        assert_eq!(troubles[0].1.message, "exit status: 3");
        auxiliary.stop().await;
    }
}
