//! What the handlers of calls have in common.

use tonic::Status;

use crate::{Error, Kind};

/// Does `work` to its end even where its caller goes away: a dropped call must not leave a change half done.
///
/// # Errors
/// Those of `work`; [`Kind::Internal`] when it panicked.
pub async fn to_the_end<T, E>(
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, Status>
where
    T: Send + 'static,
    E: Into<Status> + Send + 'static,
{
    #[cfg(feature = "host")]
    let work = crate::request::kept(work);
    match tokio::spawn(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(error) => Err(Error::caused(Kind::Internal, error).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn work_outlives_its_caller() {
        let (ask, asked) = tokio::sync::oneshot::channel::<()>();
        let (done, mut told) = tokio::sync::mpsc::channel(1);
        let work = async move {
            let _ = asked.await;
            done.send(())
                .await
                .map_err(|error| Error::caused(Kind::Internal, error))
        };
        let call = tokio::time::timeout(Duration::ZERO, to_the_end(work)).await;
        assert!(call.is_err(), "it had nothing to end with yet");
        ask.send(()).unwrap();
        assert_eq!(told.recv().await, Some(()));
    }
}
