//! The sockets of the apiserver: its own, or those on which a service manager listens for it (`sd_listen_fds(3)`).

use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use container_api::roots::Roots;
use container_api::socket;

/// Listening sockets.
#[derive(Debug)]
pub struct Sockets {
    /// For calls.
    pub main: UnixListener,
    /// For descriptors that go with calls.
    pub descriptors: UnixListener,
    /// The service manager goes on listening when this process ends: they are not removed then.
    pub are_inherited: bool,
}

/// What a service manager has opened for this process.
#[derive(Debug, Default)]
pub struct Inherited(Vec<UnixListener>);

impl Inherited {
    /// Takes them. To be called once, at the start of `main`, before other descriptors are opened.
    ///
    /// # Errors
    /// When the variables are damaged, or a descriptor is not open.
    pub fn take() -> std::io::Result<Self> {
        let mut listeners = Vec::new();
        for descriptor in sd_notify::listen_fds()? {
            // SAFETY: `LISTEN_PID` is this process: whoever set it promises that these descriptors are open and ours alone.
            let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
            let listener = UnixListener::from(owned);
            listener.set_nonblocking(true)?;
            listeners.push(listener);
        }
        Ok(Self(listeners))
    }
}

impl Sockets {
    /// The inherited ones, told apart by their paths; where there are none, new ones.
    ///
    /// # Errors
    /// As `bind(2)`; when what was inherited are other sockets than clients of this app root look for.
    pub fn open(roots: &Roots, inherited: Inherited) -> anyhow::Result<Self> {
        let (main, descriptors) = (roots.apiserver_socket(), roots.apiserver_descriptors());
        if inherited.0.is_empty() {
            // The main one last: who can connect to it finds the other one, too.
            let descriptors = listen(&descriptors)?;
            return Ok(Self {
                main: listen(&main)?,
                descriptors,
                are_inherited: false,
            });
        }
        let mut named: Vec<(PathBuf, UnixListener)> = Vec::new();
        for listener in inherited.0 {
            let address = listener
                .local_addr()
                .context("look at an inherited socket")?;
            let path = address.as_pathname().map(Path::to_owned);
            named.push((path.unwrap_or_default(), listener));
        }
        let mut take = |wanted: &Path| {
            let is_it = |path: &Path| same(path, wanted);
            if let Some(index) = named.iter().position(|(path, _)| is_it(path)) {
                return Ok(named.swap_remove(index).1);
            }
            let others: Vec<_> = named
                .iter()
                .map(|(path, _)| path.display().to_string())
                .collect();
            bail!(
                "the service manager listens at {} and not at {}",
                others.join(", "),
                wanted.display()
            )
        };
        Ok(Self {
            main: take(&main)?,
            descriptors: take(&descriptors)?,
            are_inherited: true,
        })
    }
}

/// Whether two paths name one file, perhaps through a link above it.
fn same(left: &Path, right: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &Path| {
        let metadata = std::fs::symlink_metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    left == right || identity(left).is_some_and(|found| identity(right) == Some(found))
}

fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    socket::bind(path).with_context(|| format!("listen at {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(scratch: &Path) -> Roots {
        let mut roots = Roots::new(scratch.join("app"), scratch.join("prefix"), None).unwrap();
        roots.runtime = scratch.join("run");
        roots.create().unwrap();
        roots
    }

    #[test]
    fn inherited_sockets_are_told_apart_by_their_paths() {
        let scratch = tempfile::tempdir().unwrap();
        let roots = roots(scratch.path());
        let bound = |path: PathBuf| socket::bind(&path).unwrap();
        let inherited = Inherited(vec![
            bound(roots.apiserver_descriptors()),
            bound(roots.apiserver_socket()),
        ]);
        let sockets = Sockets::open(&roots, inherited).unwrap();
        let path = |listener: &UnixListener| {
            let address = listener.local_addr().unwrap();
            address.as_pathname().unwrap().to_owned()
        };
        assert_eq!(path(&sockets.main), roots.apiserver_socket());
        assert_eq!(path(&sockets.descriptors), roots.apiserver_descriptors());
        assert!(sockets.are_inherited);
        assert!(
            !Sockets::open(&roots, Inherited::default())
                .unwrap()
                .are_inherited
        );
    }

    #[test]
    fn sockets_of_another_app_root_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let roots = roots(scratch.path());
        let inherited = Inherited(vec![socket::bind(&scratch.path().join("o.sock")).unwrap()]);
        let error = Sockets::open(&roots, inherited).unwrap_err().to_string();
        assert!(error.contains("o.sock and not at"), "{error}");
    }
}
