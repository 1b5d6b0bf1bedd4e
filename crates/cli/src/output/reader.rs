//! Whether anybody reads standard output.

use std::io;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits until nobody reads standard output any more; for ever where that cannot be told, as of a file.
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
