//! Work that takes the disk's time, beside the one thread of the service.

use std::io;

use tokio::sync::oneshot;

/// Does `work` on a thread of its own, to its end even if nobody waits for it any more.
///
/// # Errors
/// When there is no thread to be had, or the work panics.
pub async fn on_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (sender, done) = oneshot::channel();
    let work = move || {
        // Whoever asked may be gone.
        let _ = sender.send(work());
    };
    // Not tokio's `spawn_blocking`, which panics where the user may have no more threads.
    std::thread::Builder::new().name(name.into()).spawn(work)?;
    done.await.map_err(io::Error::other)
}
