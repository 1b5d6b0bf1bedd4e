//! What the apiserver and a helper that waits with a machine say to each other, on the helper's standard input.
//!
//! A message is its length (four bytes, the least first), with descriptors beside it, and JSON. The apiserver says what
//! machine to prepare, the helper that it waits, the apiserver which container it is for, the helper that it has taken it.
//! The end of the stream ends a helper that still waits.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::rights;

/// The largest message, in bytes: a container's configuration is in it.
const LIMIT: u32 = 16 << 20;

/// The helper's machine waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ready {
    /// Key of the template from which it was started.
    pub template: String,
}

/// The container that gets the machine. Beside it travel the listeners of [`crate::inherited`], in their order, and the
/// helper's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Bundle directory.
    pub bundle: PathBuf,
    /// Container's id.
    pub id: String,
    /// Id of the request that starts it.
    #[serde(default)]
    pub request: Option<String>,
}

/// The helper holds the container's lock: it is as good as one that was started for it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Taken;

/// A network's process answers with a tap, whose descriptor travels beside this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tap {
    /// Its interface name in the network's namespace.
    pub name: String,
}

/// Sends `message`.
///
/// # Errors
/// As `write(2)`, and when it is too large or has no JSON form.
pub async fn send(
    stream: &mut UnixStream,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len())
        .ok()
        .filter(|length| *length <= LIMIT)
        .ok_or(io::ErrorKind::InvalidInput)?;
    rights::send(stream, &length.to_le_bytes(), descriptors).await?;
    stream.write_all(&json).await
}

/// Receives a message and what travels beside it; nothing at the end of the stream.
///
/// # Errors
/// As `read(2)`, and when it is too large, cut off or of another form.
pub async fn receive<T: DeserializeOwned>(
    stream: &mut UnixStream,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut length = [0; 4];
    let (read, descriptors) = rights::receive(stream, &mut length).await?;
    if read == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[read..]).await?;
    let length = u32::from_le_bytes(length);
    if length > LIMIT {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut json = Vec::new();
    let read = stream.take(length.into()).read_to_end(&mut json).await?;
    if u32::try_from(read) != Ok(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some((serde_json::from_slice(&json)?, descriptors)))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    fn assignment(id: &str) -> Assignment {
        Assignment {
            bundle: "/bundle".into(),
            id: id.to_owned(),
            request: None,
        }
    }

    #[tokio::test]
    async fn messages_arrive_one_by_one_with_their_descriptors() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let long = "x".repeat(1 << 20);
        let sending = tokio::spawn(async move {
            let first = assignment("first");
            send(&mut ours, &first, &[writer.as_fd()]).await.unwrap();
            send(&mut ours, &assignment(&long), &[]).await.unwrap();
        });
        let (message, mut descriptors) = receive::<Assignment>(&mut theirs).await.unwrap().unwrap();
        assert_eq!(message, assignment("first"));
        std::fs::File::from(descriptors.remove(0))
            .write_all(b"abc")
            .unwrap();
        let (message, descriptors) = receive::<Assignment>(&mut theirs).await.unwrap().unwrap();
        assert_eq!(message.id.len(), 1 << 20);
        assert!(descriptors.is_empty());
        sending.await.unwrap();
        assert!(receive::<Assignment>(&mut theirs).await.unwrap().is_none());
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
    }

    #[tokio::test]
    async fn nonsense_is_an_error() {
        for bytes in [
            &[1][..],
            &[255; 8],
            b"\x02\0\0\0{}",
            b"\x03\0\0\0{}",
            b"\x02\0\0\0xy",
        ] {
            let (mut ours, mut theirs) = UnixStream::pair().unwrap();
            ours.write_all(bytes).await.unwrap();
            drop(ours);
            assert!(
                receive::<Assignment>(&mut theirs).await.is_err(),
                "{bytes:?}"
            );
        }
    }
}
