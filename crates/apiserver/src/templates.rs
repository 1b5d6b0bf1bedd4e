//! Templates: made on first need, one at a time, used by the helpers, bounded in number.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use container_api::api::Template;
use container_api::roots::Roots;
use container_resource::bundle::{self, Boot};
use container_resource::container::ContainerConfiguration;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use crate::disk_usage::allocated;
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
        (
            &configuration.resources,
            &configuration.kernel,
            &configuration.kernel_arguments,
            configuration.virtualization,
            &boot.kernel,
            &boot.initramfs,
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
    standby: Standby,
}

/// The part of a template's description that is shown.
#[derive(Debug, Deserialize)]
struct Description {
    shape: Shape,
}

#[derive(Debug, Deserialize)]
struct Shape {
    vcpus: u32,
    memory_bytes: u64,
}

impl Templates {
    /// Those of `roots`.
    /// One that was made is then used for the `standby` machine.
    pub fn new(roots: &Roots, standby: Standby) -> Self {
        Self {
            directory: roots.cache().join("templates"),
            log: roots.log.join("templates.log"),
            queue: Arc::default(),
            wanted: Arc::default(),
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
                Err(error) => tracing::warn!("no template was made: {error}"),
            }
            self.queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            if let Err(error) = self.collect() {
                tracing::warn!("cannot collect templates: {error}");
            }
        }
    }

    async fn make(&self, program: &Path, request: &Request) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut child = tokio::process::Command::new("nice")
            .arg(program)
            .arg("make-template")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&serde_json::to_vec(request)?).await?;
        }
        let status = child.wait().await?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!(
                "make-template: {status}, see {}",
                self.log.display()
            )))
        }
    }

    /// Every template, the one used last first.
    pub fn list(&self) -> io::Result<Vec<Template>> {
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut templates = Vec::new();
        let waiting = self.standby.template();
        for entry in entries {
            let entry = entry?;
            let Ok(key) = entry.file_name().into_string() else {
                continue;
            };
            // A template that is being written, or was cut off, has no description under its own name yet.
            let Ok(Description { shape }) = bundle::read_json(&entry.path().join("template.json"))
            else {
                continue;
            };
            if key.contains('.') {
                continue;
            }
            let standby = waiting.as_ref() == Some(&key);
            let created = entry.path().join("template.json").metadata()?.modified()?;
            templates.push(Template {
                key,
                vcpus: shape.vcpus,
                memory_bytes: shape.memory_bytes,
                size_bytes: allocated(&entry.path()),
                created_ms: milliseconds(created),
                used_ms: milliseconds(entry.metadata()?.modified()?),
                standby,
            });
        }
        templates.sort_by_key(|template| std::cmp::Reverse(template.used_ms));
        Ok(templates)
    }

    /// Removes every template, and the machine that waits; gives the templates.
    pub fn prune(&self) -> io::Result<Vec<Template>> {
        let templates = self.list()?;
        self.standby.end();
        self.remove(&templates)?;
        Ok(templates)
    }

    fn collect(&self) -> io::Result<()> {
        let templates = self.list()?;
        self.remove(templates.get(KEPT..).unwrap_or_default())
    }

    /// A machine that was started from a template has its own copy of it: nobody is disturbed.
    fn remove(&self, templates: &[Template]) -> io::Result<()> {
        templates
            .iter()
            .try_for_each(|template| std::fs::remove_dir_all(self.directory.join(&template.key)))
    }
}

fn milliseconds(time: SystemTime) -> i64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ones_not_used_for_longest_are_collected() {
        let scratch = tempfile::tempdir().unwrap();
        let roots = Roots::new(scratch.path().into(), "/p".into(), None).unwrap();
        let templates = Templates::new(&roots, Standby::new(&roots, false, false));
        assert!(templates.list().unwrap().is_empty());
        for number in 0..KEPT + 2 {
            let directory = templates.directory.join(format!("{number:032x}"));
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(
                directory.join("template.json"),
                r#"{"shape":{"vcpus":2,"memory_bytes":5}}"#,
            )
            .unwrap();
            let used = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number as u64);
            File::open(&directory).unwrap().set_modified(used).unwrap();
        }
        templates.collect().unwrap();
        let left = templates.list().unwrap();
        assert_eq!(left.len(), KEPT);
        assert!(
            left.iter()
                .all(|template| template.used_ms >= 2000 && template.vcpus == 2)
        );
        assert_eq!(templates.prune().unwrap().len(), KEPT);
        assert!(templates.list().unwrap().is_empty());
    }
}
