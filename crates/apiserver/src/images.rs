//! core-images: started when it is not there, started again when it has died.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use container_api::images::images_client::ImagesClient;
use container_api::images::{PrepareRootsRequest, Root};
use container_api::roots::Roots;
use container_api::{Error, Kind, inherited, lock, socket};
use container_resource::bundle::{Extent, RootDisk};
use container_resource::container::ContainerConfiguration;
use rustix::process::{Pid, Signal};
use tonic::transport::Channel;

/// Name of the plugin.
const PLUGIN: &str = "container-core-images";
/// First and longest pause before a helper that died is started again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// How long a call waits for a helper that is being started.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the helper may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The helper that owns images.
#[derive(Clone, Debug)]
pub struct Images {
    roots: Roots,
    debug: bool,
    stopping: Arc<tokio::sync::watch::Sender<bool>>,
    /// Held while the helper is supervised.
    supervised: Arc<tokio::sync::Mutex<()>>,
}

/// What the machine of a container has of images.
#[derive(Debug)]
pub struct PreparedRoots {
    /// Root of the container's own image.
    pub container: RootDisk,
    /// Root of its init image.
    pub init: Option<RootDisk>,
}

impl Images {
    /// The helper of this system.
    pub fn new(roots: Roots, debug: bool) -> Self {
        Self {
            roots,
            debug,
            stopping: Arc::new(tokio::sync::watch::Sender::new(false)),
            supervised: Arc::default(),
        }
    }

    /// The file whose lock the helper holds.
    pub fn lock_path(&self) -> PathBuf {
        self.roots.app.join("core-images.lock")
    }

    /// Keeps the helper running until [`Self::stop`].
    pub async fn supervise(self) {
        let _supervised = self.supervised.lock().await;
        let mut pause = BACKOFF.0;
        while !*self.stopping.borrow() {
            let begun = tokio::time::Instant::now();
            match self.run().await {
                Ok(()) => tracing::info!("{PLUGIN} ended"),
                Err(error) => tracing::error!("{PLUGIN}: {error}"),
            }
            if begun.elapsed() > BACKOFF.1 {
                pause = BACKOFF.0;
            }
            let mut stopping = self.stopping.subscribe();
            // Either way the loop looks again.
            let _ = tokio::time::timeout(pause, stopping.wait_for(|stopping| *stopping)).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    /// Adopts the running helper or starts one; returns when it has ended.
    async fn run(&self) -> std::io::Result<()> {
        if lock::holder(&self.lock_path())?.is_some() {
            tracing::info!("{PLUGIN} is running already");
            return lock::released(&self.lock_path()).await;
        }
        // The main one last: who can connect to it finds the other one, too.
        let descriptors = socket::bind(&self.roots.images_descriptors())?;
        let main = socket::bind(&self.roots.images_socket())?;
        let log = container_files::log(&self.roots.log.join("core-images.log"))?;
        let mut command = std::process::Command::new(self.roots.plugin(PLUGIN));
        command.arg("start").arg("--app-root").arg(&self.roots.app);
        command.arg("--runtime-root").arg(&self.roots.runtime);
        if self.debug {
            command.arg("--debug");
        }
        command.env(inherited::VARIABLE, "2").stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mappings = [main.into(), descriptors.into()]
            .into_iter()
            .zip(inherited::FIRST..)
            .map(|(parent_fd, child_fd)| FdMapping {
                parent_fd,
                child_fd,
            })
            .collect();
        command
            .fd_mappings(mappings)
            .map_err(std::io::Error::other)?;
        let mut child = tokio::process::Command::from(command)
            .spawn()
            .map_err(|error| {
                std::io::Error::new(
                    error.kind(),
                    format!("{}: {error}", self.roots.plugin(PLUGIN).display()),
                )
            })?;
        let mut stopping = self.stopping.subscribe();
        let ended = tokio::select! {
            status = child.wait() => Some(status?),
            // The sender is our own.
            _ = stopping.wait_for(|stopping| *stopping) => None,
        };
        let Some(status) = ended else {
            // Whoever stops it finds it by its lock, to which it may not have come yet.
            let id = child.id().and_then(|id| i32::try_from(id).ok());
            if let Some(pid) = id.and_then(Pid::from_raw) {
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

    async fn connect(&self) -> Result<ImagesClient<Channel>, Error> {
        let deadline = tokio::time::Instant::now() + CONNECT_TIMEOUT;
        loop {
            match socket::connect(&self.roots.images_socket()) {
                Ok(channel) => {
                    return Ok(
                        ImagesClient::new(channel).max_decoding_message_size(socket::MESSAGE_LIMIT)
                    );
                }
                Err(error) if tokio::time::Instant::now() >= deadline => {
                    return Err(Error::chain(Kind::Unavailable, &error)
                        .context(format_args!("{PLUGIN} does not answer"))
                        .with_hint(format!(
                            "See {}.",
                            self.roots.log.join("core-images.log").display()
                        )));
                }
                // It is being started: there is no event to wait for across processes.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// The roots of `configuration`'s images, kept as long as the container `lease` exists.
    pub async fn prepare_roots(
        &self,
        configuration: &ContainerConfiguration,
        lease: &str,
    ) -> Result<PreparedRoots, Error> {
        let digests = configuration.images().map(|image| &image.manifest_digest);
        let request = PrepareRootsRequest {
            manifest_digests: digests.cloned().collect(),
            lease: lease.to_owned(),
        };
        let reply = self.connect().await?.prepare_roots(request).await?;
        let mut roots = reply.into_inner().roots.into_iter().map(root_disk);
        let container = roots
            .next()
            .ok_or_else(|| Error::new(Kind::Internal, format!("{PLUGIN} gives no root")))?;
        Ok(PreparedRoots {
            container,
            init: roots.next(),
        })
    }

    /// Ends the helper.
    pub async fn stop(&self) -> std::io::Result<()> {
        self.stopping.send_replace(true);
        let path = self.lock_path();
        lock::signal_holder(&path, Signal::TERM)?;
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

fn root_disk(root: Root) -> RootDisk {
    let extents = root.extents.into_iter().map(|extent| Extent {
        path: extent.path.into(),
        offset: extent.offset,
        length: extent.length,
    });
    RootDisk {
        extents: extents.collect(),
        size: root.size,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_helper_without_its_lock_is_stopped_too() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path();
        let mut roots = Roots::new(path.join("app"), path.join("prefix"), None).unwrap();
        roots.runtime = path.join("run");
        roots.create().unwrap();
        let program = roots.plugin(PLUGIN);
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        let started = path.join("started");
        // What is opened for writing waits for its reader.
        rustix::fs::mkfifoat(rustix::fs::CWD, &started, rustix::fs::Mode::RWXU).unwrap();
        let script = format!(
            "#!/bin/sh\necho $$ >{}\nexec sleep 1000\n",
            started.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();

        let images = Images::new(roots, false);
        tokio::spawn(images.clone().supervise());
        let pid = tokio::fs::read_to_string(&started).await.unwrap();
        let process = PathBuf::from("/proc").join(pid.trim());
        assert!(process.exists());
        images.stop().await.unwrap();
        assert!(!process.exists());
    }
}
