//! Sockets of the guest that lead to the host: the container sees each where its mounts show it.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use container_api::guest::HostSocket;
use container_api::guest_paths::{self, SOCKETS};
use tokio::net::{UnixListener, UnixStream};

use super::SocketError;

/// How long nothing is accepted after an error: most often there are no descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket of the host, at which a guest listens.
#[derive(Debug)]
pub struct Listening(UnixListener);

/// Listens at all of them, each under its number.
pub fn all(sockets: &[HostSocket]) -> Result<Vec<Listening>, SocketError> {
    if sockets.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |path: String| move |source| SocketError { path, source };
    fs::create_dir_all(SOCKETS).map_err(failed(SOCKETS.to_owned()))?;
    let listen = |(number, socket): (usize, &HostSocket)| {
        let path = guest_paths::socket(number);
        Listening::at(Path::new(&path), socket.mode).map_err(failed(path))
    };
    sockets.iter().enumerate().map(listen).collect()
}

impl Listening {
    fn at(path: &Path, mode: u32) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(mode & 0o777))?;
        Ok(Self(listener))
    }

    /// The next connection. May be cancelled at any time.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            match self.0.accept().await {
                Ok((stream, _)) => return Ok(stream),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_has_the_mode_of_the_one_that_it_leads_to() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("0");
        let listening = Listening::at(&path, 0o100_766).unwrap();
        let found = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(found & 0o7777, 0o766);
        let (client, server) = tokio::join!(UnixStream::connect(&path), listening.accept());
        assert!(client.is_ok() && server.is_ok());
    }
}
