//! Whether standard output has a reader.

use std::io;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits until standard output has no reader any more; for ever if that cannot be known, as for a file.
pub async fn reader_gone() {
    // SAFETY: standard output stays open as long as this process lives.
    let watched = unsafe { AsyncFd::register_with_interest(io::stdout(), Interest::ERROR) };
    let gone = match &watched {
        Ok(stdout) => stdout.ready(Interest::ERROR).await.is_ok(),
        Err(_) => false,
    };
    if !gone {
        std::future::pending::<()>().await;
    }
}
