//! A stamp of a file: one `stat` shows whether the file is unchanged.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// Where the kernel tells which of the host's boots this is (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The host's boot, and a file's device, inode, size, modification and change times. The change time cannot be set by whichever process
/// writes to the file, so equal stamps mean equal content. Of another boot nothing is taken over: the file system may have lost what was
/// written last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stamp(String);

impl Stamp {
    /// Of a file as it is now.
    pub fn of(metadata: &Metadata) -> Self {
        static BOOT: OnceLock<String> = OnceLock::new();
        let boot = BOOT.get_or_init(|| {
            let id = std::fs::read_to_string(BOOT_ID);
            // A host that does not tell is a new one for each process.
            let unknown = |_| format!("process {}", std::process::id());
            id.map_or_else(unknown, |id| id.trim().to_owned())
        });
        Self::at(boot, metadata)
    }

    fn at(boot: &str, metadata: &Metadata) -> Self {
        Self(format!(
            "{boot}/{:x}/{:x}/{}/{}.{:09}/{}.{:09}",
            metadata.dev(),
            metadata.ino(),
            metadata.size(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec(),
        ))
    }
}

impl From<String> for Stamp {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn every_change_and_every_boot_makes_another() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("f");
        let stamp = || Stamp::of(&fs::metadata(&path).unwrap());
        fs::write(&path, "abc").unwrap();
        let first = stamp();
        assert_eq!(stamp(), first);
        let metadata = fs::metadata(&path).unwrap();
        assert_ne!(Stamp::at("a", &metadata), Stamp::at("b", &metadata));
        fs::write(&path, "abcd").unwrap();
        let longer = stamp();
        assert_ne!(longer, first);
        // A writer that sets the time of modification back.
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(9))
            .unwrap();
        assert_ne!(stamp(), longer);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "abcd").unwrap();
        assert_ne!(stamp(), longer);
    }

    #[test]
    fn nothing_has_the_default_one() {
        let metadata = fs::metadata("/proc/self/exe").unwrap();
        assert_ne!(Stamp::of(&metadata), Stamp::default());
    }
}
