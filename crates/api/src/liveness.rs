//! Telling the image service that works from one that is stopped or hangs.
//!
//! A call may take as long as its work: a layer of gigabytes, a slow registry. So calls to core-images have no
//! deadline of their own. While one goes on, the service is asked on a connection beside it whether it is there.

use std::path::Path;
use std::time::Duration;

use crate::request::Channel;

use crate::images::PingRequest;
use crate::images::images_client::ImagesClient;
use crate::{Error, Kind, socket};

/// How long a caller waits while the service is silent.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is asked meanwhile.
const INTERVAL: Duration = Duration::from_secs(1);

/// Ends when the service at `path` has not answered for `patience`, having been asked every `interval`. One that is
/// not there at all is not silent: callers are told so by their own connections.
pub async fn silence(path: &Path, interval: Duration, patience: Duration) {
    let mut client = None;
    loop {
        if tokio::time::timeout(patience, ping(path, &mut client))
            .await
            .is_err()
        {
            return;
        }
        tokio::time::sleep(interval).await;
    }
}

async fn ping(path: &Path, client: &mut Option<ImagesClient<Channel>>) {
    let mut connected = match client.take() {
        Some(connected) => connected,
        None => match socket::connect(path) {
            Ok(channel) => ImagesClient::new(channel),
            // Nobody takes connections any more, and too many wait already.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return std::future::pending().await;
            }
            Err(_) => return,
        },
    };
    if connected.ping(PingRequest {}).await.is_ok() {
        *client = Some(connected);
    }
}

/// The outcome of `call` to the service at `path`, which writes its log to `log`.
///
/// # Errors
/// What the call fails with; [`Kind::Timeout`] when the service is silent for [`PATIENCE`].
pub async fn answered<T, E: Into<Error>>(
    path: &Path,
    log: &Path,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, Error> {
    tokio::select! {
        outcome = call => outcome.map_err(Into::into),
        () = silence(path, INTERVAL, PATIENCE) => Err(silent(log)),
    }
}

/// The image service, whose log is `log`, does not answer.
pub fn silent(log: &Path) -> Error {
    let seconds = PATIENCE.as_secs();
    let text = format!(
        "the image service (container-core-images) has not answered for {seconds} s: it is stopped or hangs"
    );
    Error::new(Kind::Timeout, text).with_hint(format!(
        "The system ends and starts one that stays silent: try again in half a minute. Its log: {}",
        log.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_service_that_takes_connections_and_says_nothing_is_silent() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("s.sock");
        let soon = Duration::from_millis(50);
        let listener = socket::bind(&path).unwrap();
        let watch = silence(&path, soon, soon);
        tokio::time::timeout(Duration::from_secs(10), watch)
            .await
            .unwrap();
        drop(listener);
        // One that is not there is another matter.
        let watch = silence(&path, soon, soon);
        assert!(tokio::time::timeout(4 * soon, watch).await.is_err());
    }

    #[tokio::test]
    async fn a_call_that_ends_in_time_gives_its_outcome() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("absent.sock");
        let call = async { Ok::<_, Error>(7) };
        assert_eq!(answered(&path, &path, call).await.unwrap(), 7);
    }
}
