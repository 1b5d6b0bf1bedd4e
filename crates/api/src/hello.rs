//! The guest's first words on its channel.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::greeting::{Hello, LIMIT, MAGIC};

/// Why a guest's hello was not one.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// The channel broke.
    #[error("the guest's channel ended before it announced itself")]
    Channel(#[source] io::Error),
    /// Something else spoke.
    #[error("the guest announced itself in an unknown way: {0:?}")]
    Unknown(String),
}

/// Reads the hello.
///
/// # Errors
/// When the channel ends before, or something else is said.
pub async fn read(channel: &mut (impl AsyncRead + Unpin)) -> Result<Hello, HelloError> {
    parse(&read_line(channel).await?)
}

/// Reads a line of at most 511 bytes, byte by byte so that nothing after it is taken.
///
/// # Errors
/// When the channel ends before.
pub async fn read_line(channel: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, HelloError> {
    let mut line = Vec::with_capacity(LIMIT);
    loop {
        let byte = channel.read_u8().await.map_err(HelloError::Channel)?;
        if byte == b'\n' {
            return Ok(line);
        }
        line.push(byte);
        if line.len() >= LIMIT {
            return Ok(line);
        }
    }
}

fn parse(line: &[u8]) -> Result<Hello, HelloError> {
    let text = String::from_utf8_lossy(line);
    text.strip_prefix(MAGIC)
        .and_then(|json| serde_json::from_str(json).ok())
        .ok_or_else(|| HelloError::Unknown(text.chars().take(80).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn takes_the_line_and_nothing_after_it() {
        let mut channel: &[u8] = b"CONTAINER-GUEST 1 {\"pid1_ns\":5,\"new\":1}\nPRI";
        let hello = read(&mut channel).await.unwrap();
        assert_eq!(hello, Hello { pid1_ns: 5 });
        assert_eq!(channel, b"PRI");
    }

    #[tokio::test]
    async fn nonsense_and_silence_are_errors() {
        let long = vec![b'x'; 10_000];
        for bytes in [
            &b"hello\n"[..],
            b"CONTAINER-GUEST 2 {}\n",
            b"CONTAINER-GUEST 1 {\n",
            b"",
            &long,
        ] {
            let mut channel = bytes;
            assert!(read(&mut channel).await.is_err(), "{bytes:?}");
        }
    }
}
