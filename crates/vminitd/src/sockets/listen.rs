//! Sockets of the guest that lead to the host: the container sees each where its mounts show it. They listen while somebody does on
//! the host, so that whoever connects otherwise is refused.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use container_api::guest::HostSocket;
use container_api::guest_paths::{self, SOCKETS};
use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, watch};

use super::{SocketError, shown};

/// How long nothing is accepted after an error: most often there are no descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections that wait to be taken, at most.
const BACKLOG: i32 = 4096;

/// A socket of the host, at which a guest listens while somebody does there.
#[derive(Debug)]
pub struct Listening {
    path: PathBuf,
    /// One that has not listened yet; nothing once it has.
    new: Mutex<Option<OwnedFd>>,
    listener: watch::Sender<Option<Arc<UnixListener>>>,
}

/// Makes all of them, each under its number.
pub fn all(sockets: &[HostSocket]) -> Result<Vec<Listening>, SocketError> {
    if sockets.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |path: String| move |source| SocketError { path, source };
    fs::create_dir_all(SOCKETS).map_err(failed(SOCKETS.to_owned()))?;
    let make = |(number, socket): (usize, &HostSocket)| {
        let path = guest_paths::socket(number);
        Listening::at(Path::new(&path), *socket).map_err(failed(path))
    };
    sockets.iter().enumerate().map(make).collect()
}

impl Listening {
    fn at(path: &Path, socket: HostSocket) -> io::Result<Self> {
        let new = bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(socket.mode & 0o777))?;
        let (new, listener) = if socket.listening {
            (None, Some(listen(new)?))
        } else {
            (Some(new), None)
        };
        Ok(Self {
            path: path.to_owned(),
            new: Mutex::new(new),
            listener: watch::Sender::new(listener),
        })
    }

    /// Listens from now on, or no longer: who connects then is refused, and who was not taken yet is given up.
    pub async fn set(&self, listening: bool) -> io::Result<()> {
        let mut new = self.new.lock().await;
        let present = self.listener.borrow().clone();
        match (present, listening) {
            (Some(_), true) | (None, false) => {}
            (Some(listener), false) => {
                // At once, and whoever waits for a connection to it.
                let shut = rustix::net::shutdown(&listener, Shutdown::Read);
                self.listener.send_replace(None);
                shut?;
            }
            (None, true) => {
                let Some(socket) = new.take() else {
                    return self.replace().await;
                };
                self.listener.send_replace(Some(listen(socket)?));
            }
        }
        Ok(())
    }

    /// What has listened once and ceased to cannot begin again: another socket comes in its place, wherever it is shown.
    async fn replace(&self) -> io::Result<()> {
        let old = fs::metadata(&self.path)?;
        fs::remove_file(&self.path)?;
        let socket = bind(&self.path)?;
        // What the container has made of it.
        std::os::unix::fs::chown(&self.path, Some(old.uid()), Some(old.gid()))?;
        fs::set_permissions(&self.path, old.permissions())?;
        self.listener.send_replace(Some(listen(socket)?));
        let path = self.path.clone();
        let old = (old.dev(), old.ino());
        let shown = tokio::task::spawn_blocking(move || shown::replace(old, &path));
        shown.await.map_err(io::Error::other)?
    }

    /// The next connection. May be cancelled at any time.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        let mut listeners = self.listener.subscribe();
        loop {
            let listener = listeners.borrow_and_update().clone();
            let accepted = async {
                match listener {
                    Some(listener) => listener.accept().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                accepted = accepted => match accepted {
                    Ok((stream, _)) => return Ok(stream),
                    Err(_) => tokio::time::sleep(PAUSE).await,
                },
                // The sender is ours.
                _ = listeners.changed() => {}
            }
        }
    }
}

fn bind(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

fn listen(socket: OwnedFd) -> io::Result<Arc<UnixListener>> {
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(Arc::new(UnixListener::from_std(socket.into())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &Path) {
        let error = std::os::unix::net::UnixStream::connect(path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_socket_has_the_mode_of_the_one_that_it_leads_to() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("0");
        let socket = HostSocket {
            mode: 0o100_766,
            listening: true,
        };
        let listening = Listening::at(&path, socket).unwrap();
        let found = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(found & 0o7777, 0o766);
        let (client, server) = tokio::join!(UnixStream::connect(&path), listening.accept());
        assert!(client.is_ok() && server.is_ok());
    }

    #[tokio::test]
    async fn who_connects_is_refused_while_nobody_listens_on_the_host() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("0");
        let socket = HostSocket {
            mode: 0o600,
            listening: false,
        };
        let listening = Arc::new(Listening::at(&path, socket).unwrap());
        refused(&path);
        // Somebody waits for connections all the time.
        let waiting = {
            let listening = Arc::clone(&listening);
            tokio::spawn(async move { listening.accept().await })
        };
        listening.set(true).await.unwrap();
        listening.set(true).await.unwrap();
        UnixStream::connect(&path).await.unwrap();
        waiting.await.unwrap().unwrap();
        listening.set(false).await.unwrap();
        refused(&path);
        // As what it has become.
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        listening.set(true).await.unwrap();
        let (client, server) = tokio::join!(UnixStream::connect(&path), listening.accept());
        assert!(client.is_ok() && server.is_ok());
        let found = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(found & 0o7777, 0o640);
    }
}
