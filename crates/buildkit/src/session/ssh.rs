//! `SSH`: a step that mounts an agent's socket talks to an agent of the host.

use std::collections::HashMap;

use bollard_buildkit_proto::moby::sshforward::v1::ssh_server::Ssh;
use bollard_buildkit_proto::moby::sshforward::v1::{
    BytesMessage, CheckAgentRequest, CheckAgentResponse,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};

use super::{Agent, Replies, header, pump};

/// The id of a mount that names none.
const DEFAULT: &str = "default";

/// Agents by id.
pub struct Agents {
    agents: HashMap<String, Agent>,
}

impl Agents {
    /// Those that the build names.
    pub fn new(agents: HashMap<String, Agent>) -> Self {
        Self { agents }
    }

    fn find(&self, id: &str) -> Result<&Agent, Status> {
        let id = if id.is_empty() { DEFAULT } else { id };
        let agent = self.agents.get(id);
        agent.ok_or_else(|| Status::not_found(format!("unset ssh forward key {id}")))
    }
}

#[tonic::async_trait]
impl Ssh for Agents {
    async fn check_agent(
        &self,
        request: Request<CheckAgentRequest>,
    ) -> Result<Response<CheckAgentResponse>, Status> {
        self.find(&request.into_inner().id)?;
        Ok(Response::new(CheckAgentResponse {}))
    }

    type ForwardAgentStream = Replies<BytesMessage>;

    async fn forward_agent(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        let id = header(&request, "buildkit.ssh.id").unwrap_or(DEFAULT);
        let Agent::Socket(path) = self.find(id)?;
        let stream = UnixStream::connect(path)
            .await
            .map_err(|error| Status::unavailable(format!("the SSH agent: {error}")))?;
        let (reader, mut writer) = stream.into_split();
        let mut messages = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                if writer.write_all(&message.data).await.is_err() {
                    break;
                }
            }
            let _ = writer.shutdown().await;
        });
        let replies = pump(reader).map(|piece| piece.map(|data| BytesMessage { data }));
        Ok(Response::new(Box::pin(replies)))
    }
}
