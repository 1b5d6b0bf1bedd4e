//! One after the other: what all networks of a host share is changed by one process at a time.

use std::io;
use std::path::Path;
use std::time::Duration;

use container_api::lock::{self, Lock};

/// Root's, so that nobody else can hold the lock that is in it.
const DIRECTORY: &str = "/run/container-network-bridge";
/// How often a lock that another network's process has is tried for, and the pause between: it is held for milliseconds.
const TRIES: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(10);

/// Waits for this process's turn, which lasts as long as the lock is held. A process has one at a time.
///
/// # Errors
/// When another process does not give it back.
pub async fn take() -> io::Result<Lock> {
    container_api::roots::create_private(Path::new(DIRECTORY))?;
    let path = Path::new(DIRECTORY).join("lock");
    for _ in 0..TRIES {
        match lock::acquire(&path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
    let text = format!("another process holds {}", path.display());
    Err(io::Error::new(io::ErrorKind::TimedOut, text))
}
