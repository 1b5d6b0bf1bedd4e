//! Telling core-images that containers have gone, so that what they held of images may go too.
//!
//! It is told that some have, and looks which: so nothing is lost when a call is, and the first call of an apiserver
//! is for those that an earlier one did not come to.

use std::time::Duration;

use container_api::Error;
use container_api::images::DropLeasesRequest;

use super::Images;

/// How long a deletion waits for what is only tidy.
const SOON: Duration = Duration::from_secs(1);
/// Before it is told again when it did not answer.
const PAUSE: Duration = Duration::from_secs(10);

impl Images {
    /// A container has gone, or several have.
    pub fn departed(&self) {
        self.departed.notify_one();
    }

    /// Tells it at once, for who looks after a deletion; [`Self::departed`] makes up for what fails.
    pub async fn drop_leases_soon(&self) {
        if let Ok(Err(error)) = tokio::time::timeout(SOON, self.ask_to_drop()).await {
            tracing::debug!("cannot drop the lease of a deleted container now: {error:#}");
        }
    }

    /// Tells it of containers that have gone, for as long as this process lives.
    pub async fn drop_leases(self) {
        loop {
            self.departed.notified().await;
            while let Err(error) = self.ask_to_drop().await {
                tracing::debug!("cannot drop the leases of containers that are gone: {error:#}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn ask_to_drop(&self) -> Result<(), Error> {
        let mut client = self.connect().await?;
        let asked = self.answered(client.drop_leases(DropLeasesRequest {}));
        asked.await.map(drop)
    }
}
