//! Networks that come and go while the container runs.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;

use container_api::guest::{Interface, Rewrite};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

use super::{Agent, AgentError};
use crate::fatal::say;
use crate::network;

/// The most bytes of a file that is written anew.
const MAX_FILE: u64 = 1 << 20;

impl Agent {
    /// Connects the container by a device that it has not used so far; gives the interface's name.
    pub fn connect(&self, interface: &Interface, files: &[Rewrite]) -> Result<String, AgentError> {
        self.container()?;
        let name = network::connect(&mut self.state().interfaces, interface)?;
        self.rewrite(files);
        Ok(name)
    }

    /// Gives up the interface whose device has the address `device_mac`. What is for elsewhere leaves by `heir` then.
    pub fn disconnect(
        &self,
        device_mac: &str,
        heir: Option<&Interface>,
        files: &[Rewrite],
    ) -> Result<(), AgentError> {
        self.container()?;
        let given_up = network::disconnect(&mut self.state().interfaces, device_mac, heir);
        self.rewrite(files);
        Ok(given_up?)
    }

    /// Writes files anew that the container has left as they were. Where that cannot be done the network is there all the same.
    fn rewrite(&self, files: &[Rewrite]) {
        let state = self.state();
        // A file system that stands still for a copy of its disk would hold up everything.
        let (Some(root), true) = (&state.root, state.held.is_empty()) else {
            return;
        };
        for file in files {
            if let Err(error) = write(root, file) {
                say(&format!("cannot write {}: {error}", file.path));
            }
        }
    }
}

/// Writes `file` below `root`, which links cannot leave, unless it is another one by now. What is mounted there is somebody else's.
fn write(root: &OwnedFd, file: &Rewrite) -> io::Result<()> {
    let path = file.path.trim_start_matches('/');
    // A FIFO would block without NONBLOCK.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let beneath = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let opened = match openat2(root, path, flags, Mode::empty(), beneath) {
        Err(Errno::NOENT | Errno::NXIO | Errno::XDEV) => return Ok(()),
        opened => opened?,
    };
    if FileType::from_raw_mode(fstat(&opened)?.st_mode) != FileType::RegularFile {
        return Ok(());
    }
    let mut opened = File::from(opened);
    let mut present = Vec::new();
    (&mut opened).take(MAX_FILE).read_to_end(&mut present)?;
    if present != file.before {
        return Ok(());
    }
    opened.rewind()?;
    opened.write_all(&file.data)?;
    opened.set_len(u64::try_from(file.data.len()).unwrap_or(MAX_FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_container_has_changed_stays() {
        let directory = tempfile::tempdir().unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let root = rustix::fs::open(directory.path(), flags, Mode::empty()).unwrap();
        let path = directory.path().join("hosts");
        let rewrite = |before: &'static str, data: &'static str| Rewrite {
            path: "/hosts".into(),
            before: before.into(),
            data: data.into(),
        };
        write(&root, &rewrite("old and long", "new")).unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "old and long").unwrap();
        write(&root, &rewrite("old and long", "new")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        write(&root, &rewrite("old and long", "newer")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        // No link leads out.
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(outside.path(), &path).unwrap();
        write(&root, &rewrite("", "new")).unwrap();
        assert_eq!(std::fs::read(outside.path()).unwrap(), b"");
    }
}
