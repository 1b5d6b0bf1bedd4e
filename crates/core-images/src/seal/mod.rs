//! Unpacked layers and views are not trusted because they are there: each has a *seal*, the digest that was recorded
//! when it was written, in a file beside it.
//!
//! ```text layers/<diff id>.erofs the image, which is read-only layers/<diff id>.seal `sha256:<hex> <diff id>.erofs`, as `fsverity digest`
//! prints it cache/verified.json stamps of files that were found to be what their seals say ```
//!
//! A file is compared with its seal once per boot of the host, and again whenever its stamp is another. What was
//! found is remembered, so that a further start costs one `stat` per file.

mod digest;
mod verity;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use container_files::Links;
use container_resource::digest::Digest;
use container_resource::stamp::Stamp;

pub use digest::digest;
pub use verity::{Kernel, Verity};

use crate::store::Temporary;
use crate::store::atomic;

/// A file that was changed less than this ago may change again without another time: file systems count in ticks.
const TICK: Duration = Duration::from_millis(100);
/// The largest file of stamps or seals that is read, in bytes.
const MAX_RECORD: u64 = 16 << 20;

/// A file that is what its seal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intact {
    /// Bytes.
    pub length: u64,
    /// Equal as long as the file is.
    pub stamp: Stamp,
}

/// Why a file cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// There is none.
    #[error("it is not there")]
    Missing,
    /// It was never finished, or another program put it there.
    #[error("it has no seal")]
    Unsealed,
    /// The content is another than what was written.
    #[error("its content has the digest {found} where {sealed} was written")]
    Changed {
        /// As recorded.
        sealed: Digest,
        /// In fact.
        found: Digest,
    },
    /// It cannot be read to its end.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
}

/// The seals of one store, and what was compared with them.
#[derive(Debug)]
pub struct Seals {
    verity: Box<dyn Verity>,
    /// Where stamps are kept.
    memory: PathBuf,
    verified: Mutex<BTreeMap<PathBuf, Stamp>>,
}

impl Seals {
    /// Reads what an earlier process found, from the file `memory`.
    pub fn open(memory: PathBuf, verity: Box<dyn Verity>) -> Self {
        // Without it everything is looked at again.
        let verified = read_small(&memory)
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self {
            verity,
            memory,
            verified: Mutex::new(verified),
        }
    }

    /// The file, if it was compared with its seal and has not changed since: one `stat`.
    pub fn known(&self, path: &Path) -> Option<Intact> {
        let metadata = fs::symlink_metadata(path)
            .ok()
            .filter(fs::Metadata::is_file)?;
        let stamp = Stamp::of(&metadata);
        let length = metadata.len();
        (self.verified().get(path) == Some(&stamp)).then_some(Intact { length, stamp })
    }

    /// Compares a file with its seal, unless that was done. Reads it whole: not to be called where others wait.
    pub fn check(&self, path: &Path) -> Result<Intact, Damage> {
        if let Some(intact) = self.known(path) {
            return Ok(intact);
        }
        let file = match container_files::open(path, Links::Refuse) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Damage::Missing),
            Err(error) => return Err(Damage::Read(error)),
        };
        let sealed = read_seal(path).ok_or(Damage::Unsealed)?;
        let before = file.metadata().map_err(Damage::Read)?;
        let found = match self.verity.measure(&file) {
            Some(measured) => {
                // The kernel compares each block: a damaged one cannot be read.
                io::copy(&mut &file, &mut io::sink()).map_err(Damage::Read)?;
                measured
            }
            None => digest(&file).map_err(Damage::Read)?,
        };
        if found != sealed {
            return Err(Damage::Changed { sealed, found });
        }
        let stamp = Stamp::of(&before);
        let after = file.metadata().map_err(Damage::Read)?;
        let is_settled = Stamp::of(&after) == stamp && !is_recent(&after);
        if is_settled {
            self.remember(path, stamp.clone());
        }
        let length = before.len();
        Ok(Intact { length, stamp })
    }

    /// Seals a finished file and gives it its name, in place of what has it.
    pub fn publish(&self, mut file: Temporary, destination: &Path) -> io::Result<Intact> {
        file.close_for_writing()?;
        let measured = if self.verity.enable(file.file()) {
            self.verity.measure(file.file())
        } else {
            None
        };
        let sealed = match measured {
            Some(measured) => measured,
            None => digest(rewound(file.file())?)?,
        };
        // The seal comes first: one without its file does no harm.
        let name = destination
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        atomic::write(
            &seal_path(destination),
            format!("{sealed} {name}\n").as_bytes(),
        )?;
        let open = file.file().try_clone()?;
        file.publish(destination)?;
        // Of this very file, even if another file has the name by now. It cannot have been written to.
        let metadata = open.metadata()?;
        let (length, stamp) = (metadata.len(), Stamp::of(&metadata));
        self.remember(destination, stamp.clone());
        Ok(Intact { length, stamp })
    }

    /// Removes a file with its seal; the error is that of the file.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)?;
        // A seal that stays is removed by the next start.
        let _ = fs::remove_file(seal_path(path));
        self.verified().remove(path);
        Ok(())
    }

    fn verified(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Stamp>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, path: &Path, stamp: Stamp) {
        let mut verified = self.verified();
        verified.insert(path.to_owned(), stamp);
        verified.retain(|path, _| path.exists());
        // Written under the lock, so that the last one holds; a lost one costs another look.
        let written = serde_json::to_vec(&*verified)
            .map_err(io::Error::from)
            .and_then(|bytes| atomic::write_unsynced(&self.memory, &bytes));
        if let Err(error) = written {
            tracing::debug!(%error, "cannot remember what was verified");
        }
    }
}

/// Where the seal of a file is.
fn seal_path(path: &Path) -> PathBuf {
    path.with_extension("seal")
}

/// Removes seals whose files are not there.
pub fn remove_orphans(paths: impl Iterator<Item = PathBuf>) {
    for path in paths {
        let is_seal = path
            .extension()
            .is_some_and(|extension| extension == "seal");
        if is_seal && !path.with_extension("erofs").exists() {
            // The next start tries again.
            let _ = fs::remove_file(&path);
        }
    }
}

fn read_seal(path: &Path) -> Option<Digest> {
    let bytes = read_small(&seal_path(path))?;
    let text = std::str::from_utf8(&bytes).ok()?;
    let (digest, name) = text.strip_suffix('\n')?.split_once(' ')?;
    let is_its_own = path.file_name().is_some_and(|own| own == name);
    digest.parse().ok().filter(|_| is_its_own)
}

fn read_small(path: &Path) -> Option<Vec<u8>> {
    container_files::read(path, MAX_RECORD, Links::Refuse).ok()
}

fn rewound(mut file: &File) -> io::Result<&File> {
    io::Seek::rewind(&mut file)?;
    Ok(file)
}

fn is_recent(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    let changed = u64::try_from(metadata.ctime()).unwrap_or(0);
    let nanos = u32::try_from(metadata.ctime_nsec()).unwrap_or(0);
    let changed = SystemTime::UNIX_EPOCH + Duration::new(changed, nanos);
    // A time in the future says nothing.
    changed.elapsed().map_or(true, |age| age < TICK)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A kernel with or without fs-verity, which counts how often it is asked.
    #[derive(Debug, Default)]
    struct Fake {
        has_verity: bool,
        measured: Arc<AtomicUsize>,
    }

    impl Verity for Fake {
        fn enable(&self, _: &File) -> bool {
            self.has_verity
        }

        fn measure(&self, file: &File) -> Option<Digest> {
            self.measured.fetch_add(1, Ordering::Relaxed);
            let mut again = File::open(format!(
                "/proc/self/fd/{}",
                std::os::fd::AsRawFd::as_raw_fd(file)
            ))
            .unwrap();
            self.has_verity.then(|| digest(&mut again).unwrap())
        }
    }

    struct Scene {
        scratch: tempfile::TempDir,
        measured: Arc<AtomicUsize>,
        has_verity: bool,
    }

    impl Scene {
        fn new(has_verity: bool) -> Self {
            let scratch = tempfile::tempdir().unwrap();
            let measured = Arc::default();
            Self {
                scratch,
                measured,
                has_verity,
            }
        }

        fn path(&self) -> PathBuf {
            self.scratch.path().join("x.erofs")
        }

        /// As after a start of the process.
        fn seals(&self) -> Seals {
            let (has_verity, measured) = (self.has_verity, Arc::clone(&self.measured));
            Seals::open(
                self.scratch.path().join("verified.json"),
                Box::new(Fake {
                    has_verity,
                    measured,
                }),
            )
        }

        fn publish(&self, seals: &Seals, content: &[u8]) -> Intact {
            let file = Temporary::create(self.scratch.path()).unwrap();
            file.file().write_all(content).unwrap();
            seals.publish(file, &self.path()).unwrap()
        }

        /// Changes the file behind everybody's back.
        fn overwrite(&self, content: &[u8]) {
            let path = self.path();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            fs::write(&path, content).unwrap();
            settle();
        }
    }

    /// Past the time in which a change may have no other stamp.
    fn settle() {
        std::thread::sleep(TICK + Duration::from_millis(20));
    }

    #[test]
    fn what_was_written_is_known_and_nobody_writes_to_it() {
        let scene = Scene::new(false);
        let seals = scene.seals();
        let intact = scene.publish(&seals, b"content");
        assert_eq!(seals.known(&scene.path()), Some(intact.clone()));
        assert_eq!(
            scene.seals().known(&scene.path()),
            Some(intact),
            "the next process knows it, too"
        );
        let mode = fs::metadata(scene.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o444);
        assert_eq!(scene.measured.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_file_is_compared_once() {
        let scene = Scene::new(false);
        let written = scene.publish(&scene.seals(), b"content");
        settle();
        fs::remove_file(scene.scratch.path().join("verified.json")).unwrap();
        let seals = scene.seals();
        assert_eq!(seals.known(&scene.path()), None);
        for _ in 0..3 {
            assert_eq!(seals.check(&scene.path()).unwrap(), written);
        }
        assert_eq!(scene.measured.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn damage_is_seen() {
        for has_verity in [false, true] {
            let scene = Scene::new(has_verity);
            let seals = scene.seals();
            let path = scene.path();
            assert!(matches!(seals.check(&path), Err(Damage::Missing)));
            scene.publish(&seals, b"content");
            for content in [b"c0ntent".as_slice(), b"", b"content and more"] {
                scene.overwrite(content);
                assert_eq!(seals.known(&path), None);
                assert!(
                    matches!(seals.check(&path), Err(Damage::Changed { .. })),
                    "{content:?}"
                );
            }
            // Repaired by a caller that has a copy.
            scene.overwrite(b"content");
            assert!(seals.check(&path).is_ok());
            fs::remove_file(seal_path(&path)).unwrap();
            scene.overwrite(b"content");
            assert!(matches!(seals.check(&path), Err(Damage::Unsealed)));
        }
    }

    #[test]
    fn a_seal_is_of_one_file() {
        let scene = Scene::new(false);
        let seals = scene.seals();
        scene.publish(&seals, b"content");
        let other = scene.scratch.path().join("y.erofs");
        fs::copy(scene.path(), &other).unwrap();
        fs::copy(seal_path(&scene.path()), seal_path(&other)).unwrap();
        assert!(matches!(seals.check(&other), Err(Damage::Unsealed)));
        for record in ["", "sha256:", "sha256:00 x.erofs\n", "\u{fffd}"] {
            fs::write(seal_path(&other), record).unwrap();
            assert!(
                matches!(seals.check(&other), Err(Damage::Unsealed)),
                "{record}"
            );
        }
    }

    #[test]
    fn what_changed_a_moment_ago_is_looked_at_again() {
        let scene = Scene::new(false);
        let seals = scene.seals();
        scene.publish(&seals, b"content");
        let begun = std::time::Instant::now();
        fs::set_permissions(scene.path(), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(seals.check(&scene.path()).is_ok());
        // On a machine that is slow enough the change is an old one by now.
        assert!(seals.known(&scene.path()).is_none() || begun.elapsed() >= TICK);
    }

    #[test]
    fn a_removed_file_takes_its_seal_along() {
        let scene = Scene::new(false);
        let seals = scene.seals();
        scene.publish(&seals, b"content");
        seals.remove(&scene.path()).unwrap();
        assert!(!seal_path(&scene.path()).exists());
        fs::write(seal_path(&scene.path()), "left by a killed process").unwrap();
        remove_orphans(
            fs::read_dir(scene.scratch.path())
                .unwrap()
                .map(|entry| entry.unwrap().path()),
        );
        assert!(!seal_path(&scene.path()).exists());
    }
}
