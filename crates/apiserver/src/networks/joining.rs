//! What of connecting a container goes on while its machine comes into being: the network's rules, its leases on disk, the tap on
//! the bridge. Nothing of it is needed before the container's program runs.

use std::sync::Arc;

use container_api::network::{AttachReply, AttachRequest};
use container_api::{Error, Kind};
use tokio::task::JoinHandle;

use super::{Network, Networks};

/// Networks that take a container in.
#[derive(Debug, Default)]
pub struct Joining(Vec<JoinHandle<Result<Option<String>, Error>>>);

impl Joining {
    /// Waits until all of them have; gives what the container's user has to know.
    ///
    /// # Errors
    /// The first network's that cannot, when none is at work any more.
    pub async fn joined(self) -> Result<Vec<String>, Error> {
        let mut outcome = Ok(Vec::new());
        for one in self.0 {
            let joined = one
                .await
                .unwrap_or_else(|error| Err(Error::caused(Kind::Internal, error)));
            outcome = outcome.and_then(|mut warnings: Vec<String>| {
                warnings.extend(joined?);
                Ok(warnings)
            });
        }
        outcome
    }
}

/// What one network is to do.
#[derive(Debug)]
pub(super) struct Step {
    pub network: Arc<Network>,
    /// Nobody asked for it: without it the container starts all the same.
    pub implied: bool,
    pub request: AttachRequest,
}

impl Networks {
    /// Has each network do its step.
    pub(super) fn begin(self: &Arc<Self>, steps: Vec<Step>) -> Joining {
        let begin = |step| {
            let networks = self.clone();
            tokio::spawn(async move { networks.carry_out(step).await })
        };
        Joining(steps.into_iter().map(begin).collect())
    }

    async fn carry_out(&self, step: Step) -> Result<Option<String>, Error> {
        let Step {
            network,
            implied,
            request,
        } = step;
        let id = request.container.clone();
        // Where its process is killed meanwhile the next one finds the tap.
        match ask(&network, request).await {
            Ok(_) => Ok(None),
            Err(error) if implied => {
                self.detach_from(&id, &network.name).await;
                Ok(Some(without(&id, &error)))
            }
            Err(error) => Err(error),
        }
    }
}

async fn ask(network: &Network, request: AttachRequest) -> Result<AttachReply, Error> {
    let asked = network.process.call(|mut client| {
        let request = request.clone();
        async move { client.attach(request).await }
    });
    asked.await
}

/// What is told of a container that starts without its network.
pub(super) fn without(id: &str, error: &Error) -> String {
    let hint = error.hint.as_ref();
    let hint = hint.map(|hint| format!(" {hint}")).unwrap_or_default();
    format!("container {id} has no network: {error:#}.{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_are_waited_for_and_the_first_error_is_told() {
        let (sender, ended) = tokio::sync::oneshot::channel();
        let failed = |text: &'static str| Err(Error::new(Kind::Internal, text));
        let joining = Joining(vec![
            tokio::spawn(async { Ok(Some("a warning".to_owned())) }),
            tokio::spawn(async move { failed("first") }),
            tokio::spawn(async move { failed("second") }),
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                let _ = sender.send(());
                Ok(None)
            }),
        ]);
        let error = joining.joined().await.unwrap_err();
        assert_eq!(error.message(), "first");
        assert!(ended.await.is_ok());
        let warned = Joining(vec![tokio::spawn(async { Ok(Some("web".to_owned())) })]);
        assert_eq!(warned.joined().await.unwrap(), ["web"]);
    }
}
