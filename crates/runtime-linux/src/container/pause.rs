//! `pause`: every process of the container is frozen, or goes on.

use container_api::guest::FreezeRequest;
use container_api::{Error, Kind};

use super::Container;

impl Container {
    /// Freezes the container's processes, or lets them go on.
    ///
    /// # Errors
    /// When the container does not run, or its guest does not answer: all is as before then.
    pub async fn pause(&self, paused: bool) -> Result<(), Error> {
        let mut guest = self.guest()?.calls();
        let before = *self.paused.borrow();
        let frozen = guest.freeze(FreezeRequest { frozen: paused });
        if let Err(error) = self.ask(frozen).await {
            if error.kind == Kind::Timeout {
                // A guest that goes on does what it was asked for meanwhile: it is asked to take that back.
                tokio::spawn(async move { guest.freeze(FreezeRequest { frozen: before }).await });
            }
            return Err(error);
        }
        self.paused.send_replace(paused);
        Ok(())
    }
}
