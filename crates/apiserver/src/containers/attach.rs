//! `attach`: further readers of a container's output.

use container_api::{Error, runtime};

use super::Containers;
use super::helper::Lent;

impl Containers {
    /// Gives the output of the container `id`, and its input if that is free, to a client. Answers with the name of the run.
    pub async fn attach(&self, id: &str, lent: Option<Lent>) -> Result<String, Error> {
        let entry = self.get(id)?;
        let run = entry.run_name();
        let request = runtime::AttachRequest {
            process: String::new(),
            stdio: entry.relay(lent).await?,
        };
        entry
            .ask(|mut client| async move { client.attach(request).await })
            .await?;
        Ok(run)
    }
}
