//! The templates of a directory: each in a directory of its own, named by its key.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use container_resource::bundle;
use container_resource::template::TemplateResource;
use jiff::Timestamp;
use rustix::io::Errno;
use rustix::process::Pid;
use serde::Deserialize;

use crate::disk_usage;

/// Says what a template was made for; written last.
const DESCRIPTION: &str = "template.json";
/// Ends the name of a template that is being written or removed.
const TEMPORARY: &str = ".tmp";

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

/// Every template in `directory`, the one used last first.
pub fn list(directory: &Path) -> io::Result<Vec<TemplateResource>> {
    let mut templates: Vec<_> = keys(directory)?
        .into_iter()
        // One that cannot be read, or is removed meanwhile, is left out.
        .filter_map(|key| describe(directory, key).ok())
        .collect();
    templates.sort_by_key(|&(used, _)| std::cmp::Reverse(used));
    Ok(templates
        .into_iter()
        .map(|(_, template)| template)
        .collect())
}

/// Removes the template `key`, whole or not at all as far as others see. A machine that was started from it has its
/// files open: they stay until it ends.
pub async fn remove(directory: &Path, key: &str) -> io::Result<()> {
    let name = format!("{key}.{}{TEMPORARY}", uuid::Uuid::new_v4());
    let removed = directory.join(name);
    match std::fs::rename(directory.join(key), &removed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    disk_usage::remove(removed).await.map(drop)
}

/// Removes what is no template: what was not written or removed to the end, and what nobody can read.
pub async fn sweep(directory: &Path) -> io::Result<()> {
    let mut swept = Ok(());
    for name in names(directory)? {
        if is_abandoned(&name) {
            swept = swept.and(disk_usage::remove(directory.join(name)).await.map(drop));
        }
    }
    for key in keys(directory)? {
        let unreadable = description(&directory.join(&key)).is_err_and(|error| {
            use io::ErrorKind::{InvalidData, NotFound};
            matches!(error.kind(), NotFound | InvalidData)
        });
        if unreadable {
            swept = swept.and(remove(directory, &key).await);
        }
    }
    swept
}

/// The template `key`, and when it was last used.
fn describe(directory: &Path, key: String) -> io::Result<(SystemTime, TemplateResource)> {
    let path = directory.join(&key);
    let Description { shape } = description(&path)?;
    let used = path.metadata()?.modified()?;
    let template = TemplateResource {
        id: key,
        cpus: shape.vcpus,
        memory_in_bytes: shape.memory_bytes,
        size_in_bytes: disk_usage::allocated(&path),
        creation_date: date(path.join(DESCRIPTION).metadata()?.modified()?),
        used_date: date(used),
        standby: false,
    };
    Ok((used, template))
}

fn description(template: &Path) -> io::Result<Description> {
    bundle::read_json(&template.join(DESCRIPTION))
}

/// Names of the directories that are templates under their own names.
fn keys(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = names(directory)?;
    names.retain(|name| !name.contains('.'));
    Ok(names)
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            // Others are not ours.
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}

/// Whether `name` is `<key>.<pid>.tmp` of a process that writes no more, or what [`remove`] began with.
fn is_abandoned(name: &str) -> bool {
    let Some(name) = name.strip_suffix(TEMPORARY) else {
        return false;
    };
    let maker = name
        .rsplit_once('.')
        .and_then(|(_, pid)| Pid::from_raw(pid.parse().ok()?));
    maker.is_none_or(|pid| rustix::process::test_kill_process(pid) == Err(Errno::SRCH))
}

/// In whole seconds.
fn date(time: SystemTime) -> Timestamp {
    let time = Timestamp::try_from(time).unwrap_or_default();
    Timestamp::from_second(time.as_second()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_template_is_swept() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path();
        let description = r#"{"shape":{"vcpus":2,"memory_bytes":5}}"#;
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let written = format!("d.{}.tmp", std::process::id());
        for (name, description) in [
            ("whole", description),
            ("unreadable", "{"),
            (&written, description),
            (&format!("d.{}.tmp", ended.id()), description),
            ("d.removed.tmp", description),
        ] {
            std::fs::create_dir(directory.join(name)).unwrap();
            std::fs::write(directory.join(name).join(DESCRIPTION), description).unwrap();
        }
        std::fs::create_dir(directory.join("empty")).unwrap();
        std::fs::write(directory.join("file"), "").unwrap();
        sweep(directory).await.unwrap();
        let mut left = names(directory).unwrap();
        left.sort();
        assert_eq!(left, [written.as_str(), "whole"]);
        assert!(directory.join("file").exists());
        remove(directory, "whole").await.unwrap();
        remove(directory, "whole").await.unwrap();
        assert!(list(directory).unwrap().is_empty());
    }
}
