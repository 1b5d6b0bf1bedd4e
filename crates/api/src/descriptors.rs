//! File descriptors handed over beside a request.
//!
//! A gRPC request cannot carry descriptors. Whoever has some sends them to the server's *descriptors socket*
//! under a random token (`SCM_RIGHTS`, `unix(7)`) and names the token in the request that follows.

use std::collections::HashMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::rights::{self, MAX_DESCRIPTORS};
use crate::socket;

/// Bytes of a token: 32 hexadecimal digits.
const TOKEN: usize = 32;
/// The most tokens that wait to be taken; a client that hands over more is refused.
const MAX_WAITING: usize = 256;
/// How long descriptors wait to be taken before they are closed.
const EXPIRY: Duration = Duration::from_secs(30);
/// How long a client may take to send its message.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the server waits when it cannot accept, mostly for want of descriptors: somebody has to close some.
const PAUSE: Duration = Duration::from_millis(100);
/// What the server answers when it has the descriptors.
const TAKEN: u8 = b'+';

/// Hands `descriptors` to the server whose descriptors socket is `path`; gives the token that names them.
///
/// # Errors
/// As `connect(2)` and `sendmsg(2)`, and when the server refuses them.
pub async fn send(path: &Path, descriptors: &[BorrowedFd<'_>]) -> io::Result<String> {
    if descriptors.is_empty() || descriptors.len() > MAX_DESCRIPTORS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "1 to 16 descriptors can be handed over",
        ));
    }
    let token = token()?;
    let mut stream = socket::open(path)?;
    rights::send(&stream, token.as_bytes(), descriptors).await?;
    let mut answer = [0];
    stream.read_exact(&mut answer).await?;
    if answer[0] != TAKEN {
        return Err(io::Error::other("the server refused the descriptors"));
    }
    Ok(token)
}

fn token() -> io::Result<String> {
    let mut random = [0; TOKEN / 2];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(hex::encode(random))
}

/// Descriptors that clients have handed over and no request has taken yet.
#[derive(Clone, Debug, Default)]
pub struct Descriptors {
    waiting: Arc<Mutex<HashMap<String, Vec<OwnedFd>>>>,
}

impl Descriptors {
    /// Serves the descriptors socket for as long as the process lives.
    pub async fn serve(self, listener: UnixListener) {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("cannot accept descriptors: {error:#}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            if !socket::is_trusted(&stream) {
                continue;
            }
            let table = self.clone();
            tokio::spawn(async move {
                // A client that sends nonsense or nothing harms only itself: its connection is closed.
                let _ = tokio::time::timeout(RECEIVE_TIMEOUT, table.receive(stream)).await;
            });
        }
    }

    /// The descriptors under `token`, each token once.
    pub fn take(&self, token: &str) -> Option<Vec<OwnedFd>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(token)
    }

    async fn receive(&self, mut stream: UnixStream) -> io::Result<()> {
        let (token, descriptors) = receive_message(&stream).await?;
        if !self.insert(token.clone(), descriptors) {
            return Err(io::Error::other("too many descriptors wait"));
        }
        let table = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(EXPIRY).await;
            // Taken meanwhile, as nearly always.
            drop(table.take(&token));
        });
        stream.write_all(&[TAKEN]).await
    }

    fn insert(&self, token: String, descriptors: Vec<OwnedFd>) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MAX_WAITING || waiting.contains_key(&token) {
            return false;
        }
        waiting.insert(token, descriptors);
        true
    }
}

async fn receive_message(stream: &UnixStream) -> io::Result<(String, Vec<OwnedFd>)> {
    let mut data = [0; TOKEN];
    let (read, descriptors) = rights::receive(stream, &mut data).await?;
    let token = std::str::from_utf8(&data).map_err(io::Error::other)?;
    let well_formed = read == TOKEN && token.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !well_formed || descriptors.is_empty() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((token.to_owned(), descriptors))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    fn server(directory: &Path) -> (std::path::PathBuf, Descriptors) {
        let path = directory.join("d.sock");
        let listener = UnixListener::from_std(socket::bind(&path).unwrap()).unwrap();
        let table = Descriptors::default();
        tokio::spawn(table.clone().serve(listener));
        (path, table)
    }

    #[tokio::test]
    async fn a_descriptor_arrives_and_works_once() {
        let scratch = tempfile::tempdir().unwrap();
        let (path, table) = server(scratch.path());
        let (mut reader, writer) = std::io::pipe().unwrap();
        let token = send(&path, &[writer.as_fd()]).await.unwrap();
        drop(writer);
        let mut taken = table.take(&token).unwrap();
        assert!(table.take(&token).is_none());
        std::fs::File::from(taken.remove(0))
            .write_all(b"abc")
            .unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
    }

    #[tokio::test]
    async fn nonsense_is_dropped_and_the_server_lives() {
        let scratch = tempfile::tempdir().unwrap();
        let (path, table) = server(scratch.path());
        let mut stream = socket::open(&path).unwrap();
        stream
            .write_all(b"no descriptors and no token at all")
            .await
            .unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
        let null = std::fs::File::open("/dev/null").unwrap();
        let token = send(&path, &[null.as_fd()]).await.unwrap();
        assert!(table.take(&token).is_some());
    }
}
