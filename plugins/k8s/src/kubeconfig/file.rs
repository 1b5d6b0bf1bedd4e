//! The file itself: read with bounds, changed under kubectl's own lock, replaced whole.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use container_files::Links;
use serde_json::Value;

use super::{Access, MergeError, put, take};

/// Bytes of a kubeconfig at most.
const LIMIT: u64 = 8 << 20;
/// How long another program may hold the lock.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is tried meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a kubeconfig was not changed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read or written.
    #[error("kubeconfig {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// It is no YAML.
    #[error("kubeconfig {} is no YAML: {text}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        text: String,
    },
    /// It cannot take the cluster.
    #[error("kubeconfig {}", .0.display())]
    Merge(PathBuf, #[source] MergeError),
    /// Another program holds it.
    #[error("kubeconfig {} is locked: remove {} if nobody changes it", .0.display(), lock_of(.0).display())]
    Locked(PathBuf),
    /// No path is known.
    #[error("there is no home directory: say where the kubeconfig is with --kubeconfig")]
    NoHome,
}

/// Where kubectl looks: the first file that `KUBECONFIG` names, else `~/.kube/config`.
///
/// # Errors
/// When there is no home directory.
pub fn default_path() -> Result<PathBuf, FileError> {
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let first = std::env::split_paths(&listed).find(|path| !path.as_os_str().is_empty());
    first
        .or_else(|| Some(std::env::home_dir()?.join(".kube/config")))
        .ok_or(FileError::NoHome)
}

/// Puts the cluster `name`, whose API is at `port` of the host, into the file `path`.
///
/// # Errors When it is no kubeconfig, an entry of another program has the name, or it cannot be written.
pub fn merge(path: &Path, name: &str, port: u16, access: &Access) -> Result<(), FileError> {
    change(path, |config| {
        put(config, name, port, access).map(|()| true)
    })
}

/// Whether the file `path` could take the cluster `name`: said before there is one.
///
/// # Errors When it is no kubeconfig, or an entry of another program has the name.
pub fn check(path: &Path, name: &str) -> Result<(), FileError> {
    let nothing = Access {
        authority: String::new(),
        certificate: String::new(),
        key: String::new(),
    };
    let put = put(&mut read(path)?, name, 0, &nothing);
    put.map_err(|error| FileError::Merge(path.to_owned(), error))
}

/// Takes the cluster `name` out of the file `path`. What is not there is none.
///
/// # Errors
/// When it is no kubeconfig, or cannot be written.
pub fn forget(path: &Path, name: &str) -> Result<(), FileError> {
    if !path.exists() {
        return Ok(());
    }
    change(path, |config| take(config, name))
}

fn change(
    path: &Path,
    change: impl FnOnce(&mut Value) -> Result<bool, MergeError>,
) -> Result<(), FileError> {
    let failed = |error| FileError::Io(path.to_owned(), error);
    // A link stays one: its target is replaced.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if let Some(directory) = target.parent().filter(|it| !it.as_os_str().is_empty()) {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory);
        made.map_err(failed)?;
    }
    let _lock = Lock::take(&target)?;
    let mut config = read(&target)?;
    if !change(&mut config).map_err(|error| FileError::Merge(path.to_owned(), error))? {
        return Ok(());
    }
    let text = serde_saphyr::to_string(&config).map_err(|error| not_yaml(path, &error))?;
    replace(&target, &text).map_err(failed)
}

/// What the file `path` says; nothing, where it is not there or empty.
fn read(path: &Path) -> Result<Value, FileError> {
    let text = match container_files::read_text(path, LIMIT, Links::Follow) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.map_err(|error| FileError::Io(path.to_owned(), error))?,
    };
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_saphyr::from_str(&text).map_err(|error| not_yaml(path, &error))
}

fn not_yaml(path: &Path, error: &dyn std::error::Error) -> FileError {
    FileError::Yaml {
        path: path.to_owned(),
        text: error.to_string(),
    }
}

/// Makes `text` the content of the file `path`, all at once. It keeps its mode; a new one is its owner's alone, for it has keys.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mode = std::fs::metadata(path).map_or(0o600, |found| found.permissions().mode() & 0o777);
    let new = beside(path, &format!(".new-{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.set_permissions(Permissions::from_mode(mode))?;
            file.sync_all()
        });
    written
        .and_then(|()| std::fs::rename(&new, path))
        .inspect_err(|_| {
            // Nothing else has its name.
            let _ = std::fs::remove_file(&new);
        })
}

/// The lock file of kubectl and others for a kubeconfig.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> Result<Self, FileError> {
        let lock = lock_of(path);
        let begun = Instant::now();
        loop {
            let made = OpenOptions::new().write(true).create_new(true).open(&lock);
            match made {
                Ok(_) => return Ok(Self(lock)),
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(FileError::Io(path.to_owned(), error));
                }
                Err(_) if begun.elapsed() >= PATIENCE => {
                    return Err(FileError::Locked(path.to_owned()));
                }
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Somebody who removed it has told the others enough.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn lock_of(path: &Path) -> PathBuf {
    beside(path, ".lock")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::super::tests::access;
    use super::*;

    #[test]
    fn a_file_is_made_kept_and_cleaned() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("kube/config");
        check(&path, "dev").unwrap();
        assert!(!path.exists());
        merge(&path, "dev", 6445, &access("1")).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        merge(&path, "other", 6446, &access("2")).unwrap();
        assert_eq!(mode(&path), 0o640);
        forget(&path, "dev").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("https://127.0.0.1:6446") && !text.contains("6445"),
            "{text}"
        );
        forget(&scratch.path().join("none"), "dev").unwrap();
        let left = std::fs::read_dir(scratch.path().join("kube")).unwrap();
        assert_eq!(left.count(), 1);
    }

    /// What is written is read by another implementation, and what that writes by this one.
    #[test]
    fn python_reads_what_is_written() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("config");
        let odd = "apiVersion: v1\nkind: Config\nusers:\n- name: 'no'\n  user:\n    token: \"0123\"\n    note: \"a: b # c\\n- d\\t'\\\"\"\n    empty: ''\n    number: '1e3'\n    nothing: null\n    yes: 'true'\n";
        std::fs::write(&path, odd).unwrap();
        merge(&path, "dev", 6445, &access("1")).unwrap();
        let script = "import json,sys,yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))['users'][0]))";
        let read = std::process::Command::new("python3")
            .args(["-c", script])
            .arg(&path)
            .output()
            .unwrap();
        assert!(
            read.status.success(),
            "{}",
            String::from_utf8_lossy(&read.stderr)
        );
        let user: Value = serde_json::from_slice(&read.stdout).unwrap();
        assert_eq!(user["name"], "no");
        assert_eq!(user["user"]["token"], "0123");
        assert_eq!(user["user"]["note"], "a: b # c\n- d\t'\"");
        assert_eq!(user["user"]["number"], "1e3");
        assert_eq!(user["user"]["empty"], "");
    }

    #[test]
    fn what_cannot_be_changed_is_left_as_it_is() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("config");
        for text in ["[", "kind: Pod\n", "- 1\n"] {
            std::fs::write(&path, text).unwrap();
            check(&path, "dev").unwrap_err();
            merge(&path, "dev", 1, &access("")).unwrap_err();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        let target = scratch.path().join("target");
        let link = scratch.path().join("link");
        std::fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        merge(&link, "dev", 1, &access("")).unwrap();
        assert!(link.is_symlink() && target.metadata().unwrap().len() > 0);
        assert!(!lock_of(&target).exists());
    }
}
