//! What the guest answers, within bounds.

use std::time::Duration;

use container_api::{Error, Kind};

use super::Container;
use crate::limits::limit;

/// How long a guest may take to answer a call that has nothing to wait for.
const ANSWER_TIMEOUT: Duration = limit(30);

/// Bounds a call to the guest that has nothing to wait for.
pub async fn answer<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Error> {
    match tokio::time::timeout(ANSWER_TIMEOUT, call).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(Error::of_guest(status)),
        Err(_) => Err(Error::new(
            Kind::Timeout,
            format!(
                "the guest did not answer within {} s",
                ANSWER_TIMEOUT.as_secs()
            ),
        )),
    }
}

impl Container {
    /// Asks the guest what has nothing to wait for. Where it cannot answer any more, its machine is on its way out; while it
    /// stands still for lack of room, that is told.
    pub(super) async fn ask<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, Error> {
        let answered = tokio::select! {
            biased;
            answered = answer(call) => answered,
            error = self.starved() => Err(error),
        };
        answered.map_err(|error| match error.kind {
            Kind::Unavailable => Error::new(
                Kind::InvalidState,
                format!("container {} is stopping", self.configuration.id),
            ),
            _ => error,
        })
    }
}
