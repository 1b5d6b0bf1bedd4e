//! `exec`: a further process in a running container.

use container_api::{Error, Kind, runtime};
use container_resource::event::{Action, Attribute};
use container_resource::process::{self, ProcessOptions};

use super::helper::Lent;
use super::{Containers, Entry};

impl Containers {
    /// Starts `words` in the container `id`; what `options` leave open is as with its first process. Gives the new process's
    /// id.
    pub async fn exec(
        &self,
        id: &str,
        words: &[String],
        options: &ProcessOptions,
        lent: Option<Lent>,
    ) -> Result<String, Error> {
        let entry = self.get(id)?;
        entry.helper()?;
        let mut request = request(&entry, words, options)?;
        request.stdio = entry.relay(lent).await?;
        let process = request.process.clone();
        entry
            .ask(|mut client| async move { client.exec(request).await })
            .await?;
        let attributes = [(Attribute::Process, process.clone())];
        self.events.tell(Action::Exec, id, attributes);
        Ok(process)
    }
}

/// What a helper is asked for to run `words` as a further process of `entry`, without streams.
pub(super) fn request(
    entry: &Entry,
    words: &[String],
    options: &ProcessOptions,
) -> Result<runtime::ExecRequest, Error> {
    let first = &entry.configuration()?.init_process;
    let configuration = process::further(first, options, words)
        .map_err(|error| Error::chain(Kind::InvalidArgument, &error))?;
    let configuration =
        serde_json::to_vec(&configuration).map_err(|error| Error::chain(Kind::Internal, &error))?;
    Ok(runtime::ExecRequest {
        process: uuid::Uuid::new_v4().to_string(),
        configuration: configuration.into(),
        stdio: None,
        apart: false,
    })
}
