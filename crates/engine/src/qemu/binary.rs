//! Finds QEMU and learns its version, which is run at most once per installed binary.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::confinement::Libraries;
use crate::identity::FileIdentity;
use crate::vmm::FindVmmError;

/// Oldest version whose `microvm` machine and command line are known to work.
const OLDEST: Version = Version { major: 7, minor: 2 };

/// How long `--version` may take on a busy host.
const VERSION_LIMIT: Duration = Duration::from_secs(20);

/// Places where distributions put a QEMU that is not in `PATH` (Fedora and its kin).
const ELSEWHERE: [&str; 1] = ["/usr/libexec/qemu-kvm"];

const NAME: &str = "qemu-system-x86_64";

/// Debian's build of it that has the machines of a VM host, KVM, and little else: 10 libraries to
/// load instead of 51, and half of the memory.
const SMALL: &str = "qemu-system-x86_64-microvm";

/// The packages that have it.
const PACKAGES: &str =
    "qemu-system-x86 (Debian, Ubuntu), qemu-system-x86-core (Fedora) or qemu-system-x86 (Arch)";

/// The command that brings a VMM where there is none.
pub const INSTALL: &str = "apt-get install qemu-system-x86";

/// A QEMU release, without its patch level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Version {
    /// Major number.
    pub(crate) major: u32,
    /// Minor number.
    pub(crate) minor: u32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Version {
    /// Reads the first line of `qemu-system-x86_64 --version`.
    fn parse(output: &str) -> Option<Self> {
        let rest = output.strip_prefix("QEMU emulator version ")?;
        let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Self { major, minor })
    }
}

/// An installed QEMU of a known version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Binary {
    /// The executable, symbolic links resolved.
    pub(crate) path: PathBuf,
    /// What it says it is.
    pub(crate) version: Version,
    /// The file in which it was found.
    pub(crate) identity: FileIdentity,
    /// The files that it consists of.
    pub(crate) libraries: Libraries,
}

impl Binary {
    /// Finds QEMU; `known` is trusted if it still describes the file found.
    pub(crate) async fn find(known: Option<&Self>) -> Result<Self, FindVmmError> {
        let search = std::env::var_os("PATH").unwrap_or_default();
        let path = locate(&search).ok_or(FindVmmError::Missing {
            program: NAME,
            packages: PACKAGES,
        })?;
        Self::examine(path, known).await
    }

    /// The build of the same QEMU, beside it, that can do no more than start `microvm` machines with
    /// KVM, if there is one; `known` as for [`Binary::find`].
    pub(crate) async fn small(&self, known: Option<&Self>) -> Option<Self> {
        let path = self.path.with_file_name(SMALL);
        if !is_executable(&path) {
            return None;
        }
        match Self::examine(path, known).await {
            Ok(small) if small.version == self.version => Some(small),
            other => {
                tracing::debug!(?other, "the small VMM is not used");
                None
            }
        }
    }

    async fn examine(path: PathBuf, known: Option<&Self>) -> Result<Self, FindVmmError> {
        let failed = |source| FindVmmError::Run {
            path: path.clone(),
            source,
        };
        let identity = FileIdentity::of(&path).map_err(failed)?;
        let current = |known: &&Self| {
            known.path == path && known.identity == identity && known.libraries.are_current()
        };
        if let Some(known) = known.filter(current) {
            return Ok(known.clone());
        }
        let output = run_version(&path).await.map_err(failed)?;
        let Some(version) = Version::parse(&output) else {
            let output = output.chars().take(200).collect();
            return Err(FindVmmError::Unrecognised { path, output });
        };
        if version < OLDEST {
            return Err(FindVmmError::TooOld {
                path,
                found: version.to_string(),
                oldest: OLDEST.to_string(),
            });
        }
        let libraries = Libraries::of(&path).await.map_err(failed)?;
        Ok(Self {
            path,
            version,
            identity,
            libraries,
        })
    }
}

fn locate(search: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(search)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(NAME))
        .chain(ELSEWHERE.map(PathBuf::from))
        .find(|path| is_executable(path))
        .and_then(|path| path.canonicalize().ok())
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

async fn run_version(path: &Path) -> io::Result<String> {
    let output = tokio::process::Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(VERSION_LIMIT, output).await??;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(directory: &Path, script: &str) -> PathBuf {
        let path = directory.join(NAME);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn versions_are_read_and_ordered() {
        let parse = |text| Version::parse(text).map(|version| version.to_string());
        assert_eq!(
            parse("QEMU emulator version 7.2.22 (Debian 1:7.2)\n").unwrap(),
            "7.2"
        );
        assert_eq!(
            parse("QEMU emulator version 10.0.2\nCopyright").unwrap(),
            "10.0"
        );
        for text in [
            "",
            "QEMU emulator version",
            "QEMU emulator version x.y",
            "qemu 9",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(
            Version {
                major: 10,
                minor: 0
            } > OLDEST
        );
        assert!(Version { major: 6, minor: 9 } < OLDEST);
    }

    #[test]
    fn only_an_executable_in_an_absolute_directory_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = fake(directory.path(), "true");
        assert_eq!(
            locate(directory.path().as_os_str()),
            Some(path.canonicalize().unwrap())
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let found = locate(directory.path().as_os_str());
        assert!(found.is_none_or(|found| ELSEWHERE.iter().any(|other| found == Path::new(other))));
    }

    #[tokio::test]
    async fn the_version_is_asked_once_per_binary() {
        let directory = tempfile::tempdir().unwrap();
        let path = fake(
            directory.path(),
            "echo QEMU emulator version 9.1.0; rm $0.ran && :",
        );
        let marker = directory.path().join(format!("{NAME}.ran"));
        std::fs::write(&marker, "").unwrap();
        let first = Binary::examine(path.clone(), None).await.unwrap();
        assert_eq!(first.version, Version { major: 9, minor: 1 });
        assert!(!marker.exists());
        std::fs::write(&marker, "").unwrap();
        assert_eq!(
            Binary::examine(path.clone(), Some(&first)).await.unwrap(),
            first
        );
        assert!(marker.exists());
        fake(
            directory.path(),
            "echo QEMU emulator version 10.0.0; rm $0.ran",
        );
        let second = Binary::examine(path, Some(&first)).await.unwrap();
        assert_eq!(
            second.version,
            Version {
                major: 10,
                minor: 0
            }
        );
    }

    #[tokio::test]
    async fn the_small_build_is_used_if_it_is_of_the_same_version() {
        let directory = tempfile::tempdir().unwrap();
        let path = fake(directory.path(), "echo QEMU emulator version 9.1.0");
        let binary = Binary::examine(path.clone(), None).await.unwrap();
        assert_eq!(binary.small(None).await, None);
        let small = directory.path().join(SMALL);
        std::fs::copy(&path, &small).unwrap();
        assert_eq!(binary.small(None).await.unwrap().path, small);
        fake(directory.path(), "echo QEMU emulator version 9.2.0");
        let newer = Binary::examine(path, None).await.unwrap();
        assert_eq!(newer.small(None).await, None);
    }

    #[tokio::test]
    async fn what_is_no_vmm_of_today_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = fake(directory.path(), "echo QEMU emulator version 6.2.0");
        let error = Binary::examine(path, None).await.unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("is version 6.2; 7.2 or newer is needed"),
            "{error}"
        );
        let path = fake(directory.path(), "echo hello");
        let error = Binary::examine(path.clone(), None).await.unwrap_err();
        assert!(
            matches!(error, FindVmmError::Unrecognised { .. }),
            "{error}"
        );
        std::fs::write(&path, "#!/nonexistent\n").unwrap();
        let error = Binary::examine(path, None).await.unwrap_err();
        assert!(matches!(error, FindVmmError::Run { .. }), "{error}");
    }
}
