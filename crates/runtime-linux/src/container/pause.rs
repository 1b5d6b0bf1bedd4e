//! `pause`: every process of the container is frozen, or goes on.

use std::sync::Arc;

use container_api::guest::FreezeRequest;
use container_api::{Error, Kind};

use super::{Container, State};

impl Container {
    /// Freezes the container's processes, or lets them go on. A caller that goes away meanwhile does not leave it unknown
    /// which: what was begun is finished, and [`Self::settled`] waits for it.
    ///
    /// # Errors
    /// When the container does not run, or its guest does not answer: all is as before then.
    pub async fn pause(self: &Arc<Self>, paused: bool) -> Result<(), Error> {
        let turn = self.pausing.clone().lock_owned().await;
        let container = self.clone();
        let work = tokio::spawn(async move {
            let _turn = turn;
            container.freeze(paused).await
        });
        let lost = |_| Error::new(Kind::Internal, "the pause was not finished");
        work.await.map_err(lost)?
    }

    async fn freeze(&self, paused: bool) -> Result<(), Error> {
        let mut guest = self.guest()?.calls();
        let before = *self.paused.borrow();
        let frozen = guest.freeze(FreezeRequest { frozen: paused });
        if let Err(error) = self.ask(frozen).await {
            if matches!(error.kind, Kind::Timeout | Kind::Exhausted) {
                // A guest that goes on does what it was asked for meanwhile: it is asked to take that back.
                tokio::spawn(async move { guest.freeze(FreezeRequest { frozen: before }).await });
            }
            return Err(error);
        }
        self.paused.send_replace(paused);
        Ok(())
    }

    /// Where it is in its life, once a pause that was begun is done. That takes as long as the guest may take to answer.
    pub async fn settled(&self) -> State {
        let _turn = self.pausing.lock().await;
        self.state()
    }
}
