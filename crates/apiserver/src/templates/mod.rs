//! Templates: made on first need, one at a time, used by the helpers, bounded in number.

mod collection;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use container_api::handover;
use container_api::roots::Roots;
use container_resource::bundle::Boot;
use container_resource::container::{ContainerConfiguration, Mount};
use container_resource::template::TemplateResource;
use serde::Serialize;
use tokio::net::UnixStream;

use crate::networks::Networks;
use crate::standby::Standby;

/// The most templates that are kept; beyond, those that were not used for longest go.
const KEPT: usize = 8;
/// The most requests that wait; a shape that is still wanted will be asked for again.
const QUEUE: usize = 8;

/// What the helper makes a template, or prepares a machine, for.
#[derive(Clone, Debug, Serialize)]
pub struct Request {
    /// A container's configuration.
    pub configuration: ContainerConfiguration,
    /// What that container was started with.
    pub boot: Boot,
}

impl Request {
    /// Whether `other` is for a machine that looks the same, as far as can be told here: the helper knows.
    pub fn is_like(&self, other: &Self) -> bool {
        self.shape() == other.shape()
    }

    fn shape(&self) -> impl PartialEq {
        let Self {
            configuration,
            boot,
        } = self;
        // Where the container's files alone are wanted, its machine has neither networks nor shares.
        let is_run = !boot.idle;
        let networks = configuration.networks.iter().filter(|_| is_run);
        let networks = networks.map(|attachment| (&attachment.network, attachment.options.mtu));
        let mut mounts = configuration.mounts.iter();
        (
            networks.collect::<Vec<_>>(),
            is_run && mounts.any(Mount::is_shared),
            &boot.init,
            &configuration.resources,
            &configuration.kernel,
            &configuration.kernel_arguments,
            configuration.virtualization,
            &boot.kernel,
            &boot.initramfs,
            &boot.volumes,
        )
    }
}

/// The templates of a system.
#[derive(Clone, Debug)]
pub struct Templates {
    directory: PathBuf,
    log: PathBuf,
    queue: Arc<Mutex<VecDeque<(PathBuf, Request)>>>,
    wanted: Arc<tokio::sync::Notify>,
    networks: Arc<Networks>,
    standby: Standby,
}

impl Templates {
    /// Those of `roots`.
    /// One that was made is then used for the `standby` machine.
    pub fn new(roots: &Roots, networks: &Arc<Networks>, standby: Standby) -> Self {
        Self {
            directory: roots.cache().join("templates"),
            log: roots.log.join("templates.log"),
            queue: Arc::default(),
            wanted: Arc::default(),
            networks: networks.clone(),
            standby,
        }
    }

    /// Asks for a template for containers like this one, to be made by its runtime `program`.
    pub fn want(&self, program: PathBuf, request: Request) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = queue.iter().any(|(_, asked)| asked.is_like(&request));
        if !asked && queue.len() < QUEUE {
            queue.push_back((program, request));
            self.wanted.notify_one();
        }
    }

    /// Makes the templates that are asked for, one after the other, behind everything else.
    pub async fn serve(self) {
        loop {
            if let Err(error) = self.collect().await {
                tracing::warn!("cannot collect templates: {error:#}");
            }
            let next = self
                .queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .front()
                .cloned();
            let Some((program, request)) = next else {
                self.wanted.notified().await;
                continue;
            };
            match self.make(&program, &request).await {
                Ok(()) => self.standby.want(program, request),
                Err(error) => tracing::warn!("no template was made: {error:#}"),
            }
            self.queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
        }
    }

    async fn make(&self, program: &Path, request: &Request) -> io::Result<()> {
        let log = container_files::log(&self.log)?;
        let mut request = request.clone();
        // The others come late.
        let interfaces = std::mem::take(&mut request.boot.interfaces);
        let mut tap = None;
        if let Some(interface) = interfaces.into_iter().find(|interface| interface.is_saved) {
            let spare = self.networks.spare(&interface).await;
            let spare = spare.map_err(io::Error::other)?;
            request.boot.interfaces.push(spare.interface);
            tap = Some(spare.tap);
        }
        let (mut stream, theirs) = UnixStream::pair()?;
        let theirs: OwnedFd = theirs.into_std()?.into();
        let mut command = tokio::process::Command::new("nice");
        container_api::log::pass_on(command.as_std_mut());
        let mut child = command
            .arg(program)
            .arg("make-template")
            .stdin(theirs)
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        // It holds the other end of the stream.
        drop(command);
        let taps: Vec<_> = tap.iter().map(AsFd::as_fd).collect();
        let sent = handover::send(&mut stream, &request, &taps).await;
        // The machine alone is to have it; one that ended at once has said why.
        drop(tap);
        let status = child.wait().await?;
        if status.success() {
            sent
        } else {
            Err(io::Error::other(format!(
                "make-template: {status}, see {}",
                self.log.display()
            )))
        }
    }

    /// Every template, the one used last first.
    pub fn list(&self) -> io::Result<Vec<TemplateResource>> {
        let mut templates = collection::list(&self.directory)?;
        let waiting = self.standby.template();
        for template in &mut templates {
            template.standby = waiting.as_ref() == Some(&template.id);
        }
        Ok(templates)
    }

    /// Ends the machine that waits, and waits until it is gone.
    pub async fn stand_down(&self) {
        self.standby.ended().await;
    }

    /// Removes every template, and the machine that waits; gives the templates.
    pub async fn prune(&self) -> io::Result<Vec<TemplateResource>> {
        let templates = self.list()?;
        self.standby.end();
        self.remove(&templates).await?;
        Ok(templates)
    }

    async fn collect(&self) -> io::Result<()> {
        let templates = self.list()?;
        self.remove(templates.get(KEPT..).unwrap_or_default()).await
    }

    /// Removes `templates`, and what is not a template, as far as it can be removed.
    async fn remove(&self, templates: &[TemplateResource]) -> io::Result<()> {
        let mut removed = collection::sweep(&self.directory).await;
        for template in templates {
            removed = removed.and(collection::remove(&self.directory, &template.id).await);
        }
        removed
    }
}

#[cfg(test)]
pub mod tests {
    use std::fs::File;

    use container_resource::container::{AttachmentConfiguration, AttachmentOptions, MountKind};
    use container_resource::settings::NetworkSettings;

    use super::*;
    use crate::networks::Networks;

    /// For a container on `networks`, with a share at each of `shares`.
    pub fn request(networks: &[&str], shares: &[&str]) -> Request {
        let boot = serde_json::json!({
            "kernel": "/k", "initramfs": "/i", "cache": "/c", "requestedUs": 0,
            "root": {"extents": [], "size": 0}
        });
        let attachment = |network: &&str| AttachmentConfiguration {
            network: (*network).to_owned(),
            options: AttachmentOptions::default(),
        };
        let share = |destination: &&str| Mount {
            destination: (*destination).to_owned(),
            kind: MountKind::Virtiofs {},
            source: "/s".to_owned(),
            options: Vec::new(),
        };
        Request {
            configuration: ContainerConfiguration {
                networks: networks.iter().map(attachment).collect(),
                mounts: shares.iter().map(share).collect(),
                ..ContainerConfiguration::default()
            },
            boot: serde_json::from_value(boot).unwrap(),
        }
    }

    #[test]
    fn machines_are_alike_that_have_the_same_devices() {
        let plain = request(&[], &[]);
        assert!(plain.is_like(&request(&[], &[])));
        let others = [request(&["n"], &[]), request(&[], &["/s"])];
        for other in others {
            assert!(!plain.is_like(&other));
            // The container's files alone are wanted.
            let mut idle = other;
            idle.boot.idle = true;
            assert!(plain.is_like(&idle));
        }
        let mut booted = request(&[], &[]);
        booted.boot.init = Some(booted.boot.root.clone());
        assert!(!plain.is_like(&booted));
    }

    #[tokio::test]
    async fn the_ones_not_used_for_longest_are_collected() {
        let scratch = tempfile::tempdir().unwrap();
        let roots = Roots::new(scratch.path().into(), "/p".into(), None).unwrap();
        let networks = Networks::new(&roots, NetworkSettings::default(), false);
        let standby = Standby::new(&roots, &networks, false, false);
        let templates = Templates::new(&roots, &networks, standby);
        assert!(templates.list().unwrap().is_empty());
        for number in 0..KEPT + 2 {
            let directory = templates.directory.join(format!("{number:032x}"));
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(
                directory.join("template.json"),
                r#"{"shape":{"vcpus":2,"memory_bytes":5}}"#,
            )
            .unwrap();
            let used =
                std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number as u64);
            File::open(&directory).unwrap().set_modified(used).unwrap();
        }
        templates.collect().await.unwrap();
        let left = templates.list().unwrap();
        assert_eq!(left.len(), KEPT);
        assert!(
            left.iter()
                .all(|template| template.used_date.as_second() >= 2 && template.cpus == 2)
        );
        assert_eq!(templates.prune().await.unwrap().len(), KEPT);
        assert!(templates.list().unwrap().is_empty());
    }
}
