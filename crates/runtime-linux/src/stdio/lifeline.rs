//! Whether a client still lives.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;

/// A token that is cancelled when the other end of `lifeline` closes. Without a lifeline it never is.
///
/// # Errors
/// When `lifeline` is not the reading end of a pipe.
pub fn watch(lifeline: Option<OwnedFd>) -> io::Result<CancellationToken> {
    let gone = CancellationToken::new();
    if let Some(lifeline) = lifeline {
        let mut lifeline = pipe::Receiver::from_owned_fd(lifeline)?;
        let token = gone.clone();
        tokio::spawn(async move {
            // What is written means nothing; the end, or an error, is the client's.
            while matches!(lifeline.read(&mut [0; 64]).await, Ok(length) if length > 0) {}
            token.cancel();
        });
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_cut_when_the_client_ends() {
        let (reader, writer) = io::pipe().unwrap();
        let gone = watch(Some(reader.into())).unwrap();
        assert!(!gone.is_cancelled());
        drop(writer);
        gone.cancelled().await;
        assert!(!watch(None).unwrap().is_cancelled());
    }
}
