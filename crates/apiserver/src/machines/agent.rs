//! Which SSH agent a machine reaches: that of the client that was last heard of.
//!
//! A machine outlives many logins, each with an agent of its own, and boots with the host, when nobody is logged in. So what is told to
//! its runtime helper is the path of a link in its bundle, which is followed at each connection.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use container_api::{Error, Kind};

use crate::containers::Entry;

/// The link at which the machine of `entry` reaches its agent, from now on that at `path`, unless that is empty.
///
/// # Errors
/// When the link cannot be made.
pub fn link(entry: &Entry, path: &str) -> Result<PathBuf, Error> {
    let link = entry.bundle.ssh_agent();
    if !path.is_empty() {
        point(&link, Path::new(path)).map_err(|error| {
            Error::caused(Kind::Internal, error).context("take down where the SSH agent is")
        })?;
    }
    Ok(link)
}

/// Makes `link` lead to `path`, all at once.
fn point(link: &Path, path: &Path) -> io::Result<()> {
    if std::fs::read_link(link).is_ok_and(|known| known == path) {
        return Ok(());
    }
    let new = link.with_file_name(format!(".ssh-agent-{}", uuid::Uuid::new_v4()));
    symlink(path, &new)?;
    std::fs::rename(&new, link).inspect_err(|_| {
        // Nothing else has its name.
        let _ = std::fs::remove_file(&new);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_agent_holds() {
        let scratch = tempfile::tempdir().unwrap();
        let link = scratch.path().join("ssh-agent");
        for path in ["/tmp/a", "/tmp/a", "/tmp/b"] {
            point(&link, Path::new(path)).unwrap();
            assert_eq!(std::fs::read_link(&link).unwrap(), Path::new(path));
        }
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
        let nowhere = scratch.path().join("none/ssh-agent");
        assert!(point(&nowhere, Path::new("/tmp/a")).is_err());
    }
}
