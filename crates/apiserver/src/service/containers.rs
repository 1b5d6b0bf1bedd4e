//! Calls about containers, translated: what they mean is in `containers/`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use container_api::api::containers_server;
use container_api::api::{
    ArchiveReply, ArchiveRequest, AttachReply, AttachRequest, CreateReply, CreateRequest,
    DeleteReply, DeleteRequest, EventsReply, EventsRequest, ExecReply, ExecRequest, ListReply,
    ListRequest, LogsReply, LogsRequest, PauseReply, PauseRequest, ProcessesRequest, RenameReply,
    RenameRequest, ResizeReply, ResizeRequest, SignalReply, SignalRequest, StartReply,
    StartRequest, StatisticsReply, StatisticsRequest, StopReply, StopRequest, WaitRequest,
};
use container_api::call::to_the_end;
use container_api::types::{Exit, Processes};
use container_api::{Error, Kind};
use futures::{Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Request, Response, Status};

use crate::containers::{Agent, Containers, Started};

/// The calls about containers.
#[derive(Debug)]
pub struct Service(pub Arc<Containers>);

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl containers_server::Containers for Service {
    async fn create(&self, request: Request<CreateRequest>) -> Reply<CreateReply> {
        let request = request.into_inner();
        let configuration = json("container configuration", &request.configuration)?;
        let options = json("create options", &request.options)?;
        let containers = self.0.clone();
        let created_volumes =
            to_the_end(async move { containers.create(configuration, options).await }).await?;
        Ok(Response::new(CreateReply { created_volumes }))
    }

    async fn start(&self, request: Request<StartRequest>) -> Reply<StartReply> {
        let StartRequest {
            id,
            stdio,
            ssh_agent,
        } = request.into_inner();
        let lent = self.0.lent(stdio)?;
        let agent = Some(agent(ssh_agent));
        let containers = self.0.clone();
        let started = to_the_end(async move { containers.start(&id, agent, lent).await }).await?;
        let Started {
            already_running,
            timeline,
            run,
            warnings,
        } = started;
        Ok(Response::new(StartReply {
            already_running,
            timeline: to_json(&timeline)?,
            run,
            warnings,
        }))
    }

    async fn exec(&self, request: Request<ExecRequest>) -> Reply<ExecReply> {
        let ExecRequest {
            id,
            words,
            options,
            stdio,
        } = request.into_inner();
        let lent = self.0.lent(stdio)?;
        let options = json("process options", &options)?;
        let process = self.0.exec(&id, &words, &options, lent).await?;
        Ok(Response::new(ExecReply { process }))
    }

    async fn archive(&self, request: Request<ArchiveRequest>) -> Reply<ArchiveReply> {
        let ArchiveRequest { id, words, stdio } = request.into_inner();
        let lent = self.0.lent(stdio)?;
        let containers = self.0.clone();
        let exit_code =
            to_the_end(async move { containers.archive(&id, words, lent).await }).await?;
        Ok(Response::new(ArchiveReply { exit_code }))
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Reply<Exit> {
        let WaitRequest {
            id,
            process,
            run,
            rest,
        } = request.into_inner();
        let exit = if !process.is_empty() {
            self.0.process_ended(&id, process).await?
        } else if rest {
            self.0.get(&id)?.rests().await?
        } else {
            self.0.ended(&id, &run).await?
        };
        Ok(Response::new(Exit {
            exit_code: exit.exit_code,
            exited_ms: exit.exited.as_millisecond(),
            reason: exit.reason.unwrap_or_default(),
            oom_killed: exit.oom_killed,
        }))
    }

    async fn signal(&self, request: Request<SignalRequest>) -> Reply<SignalReply> {
        let SignalRequest {
            id,
            process,
            signal,
        } = request.into_inner();
        self.0.signal(&id, process, signal).await?;
        Ok(Response::new(SignalReply {}))
    }

    async fn resize(&self, request: Request<ResizeRequest>) -> Reply<ResizeReply> {
        let ResizeRequest {
            id,
            process,
            rows,
            columns,
        } = request.into_inner();
        self.0.resize(&id, process, rows, columns).await?;
        Ok(Response::new(ResizeReply {}))
    }

    async fn stop(&self, request: Request<StopRequest>) -> Reply<StopReply> {
        let (id, signal, timeout) = stopping(request);
        let containers = self.0.clone();
        to_the_end(async move { containers.stop(&id, signal, timeout).await }).await?;
        Ok(Response::new(StopReply {}))
    }

    async fn restart(&self, request: Request<StopRequest>) -> Reply<StopReply> {
        let agent = agent(request.get_ref().ssh_agent.clone());
        let (id, signal, timeout) = stopping(request);
        let containers = self.0.clone();
        to_the_end(async move { containers.stop_and_start(&id, signal, timeout, agent).await })
            .await?;
        Ok(Response::new(StopReply {}))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Reply<DeleteReply> {
        let DeleteRequest { id, force, volumes } = request.into_inner();
        let containers = self.0.clone();
        let reclaimed_bytes =
            to_the_end(async move { containers.delete(&id, force, volumes).await }).await?;
        Ok(Response::new(DeleteReply { reclaimed_bytes }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Reply<ListReply> {
        let containers = self.0.list(&request.into_inner().ids);
        Ok(Response::new(ListReply {
            containers: to_json(&containers)?,
        }))
    }

    async fn logs(&self, request: Request<LogsRequest>) -> Reply<LogsReply> {
        let entry = self.0.get(&request.into_inner().id)?;
        Ok(Response::new(LogsReply {
            stdio_path: entry.bundle.stdio_log().display().to_string(),
            boot_path: entry.bundle.boot_log().display().to_string(),
            active: entry.is_active() || entry.is_restarting(),
        }))
    }

    async fn statistics(&self, request: Request<StatisticsRequest>) -> Reply<StatisticsReply> {
        let statistics = self.0.statistics(&request.into_inner().id).await?;
        Ok(Response::new(StatisticsReply {
            statistics: to_json(&statistics)?,
        }))
    }

    async fn pause(&self, request: Request<PauseRequest>) -> Reply<PauseReply> {
        let PauseRequest { id, paused } = request.into_inner();
        let containers = self.0.clone();
        to_the_end(async move { containers.pause(&id, paused).await }).await?;
        Ok(Response::new(PauseReply {}))
    }

    async fn rename(&self, request: Request<RenameRequest>) -> Reply<RenameReply> {
        let RenameRequest { id, new_id } = request.into_inner();
        let containers = self.0.clone();
        to_the_end(async move { containers.rename(&id, &new_id).await }).await?;
        Ok(Response::new(RenameReply {}))
    }

    async fn processes(&self, request: Request<ProcessesRequest>) -> Reply<Processes> {
        let processes = self.0.processes(&request.into_inner().id).await?;
        Ok(Response::new(processes))
    }

    async fn attach(&self, request: Request<AttachRequest>) -> Reply<AttachReply> {
        let AttachRequest { id, stdio } = request.into_inner();
        let lent = self.0.lent(stdio)?;
        let run = self.0.attach(&id, lent).await?;
        Ok(Response::new(AttachReply { run }))
    }

    type EventsStream = Pin<Box<dyn Stream<Item = Result<EventsReply, Status>> + Send>>;

    async fn events(&self, _: Request<EventsRequest>) -> Reply<Self::EventsStream> {
        let events = BroadcastStream::new(self.0.events.listen()).map(|event| {
            let event = event.map_err(|missed| Status::data_loss(missed.to_string()))?;
            Ok(EventsReply {
                event: to_json(&event)?,
            })
        });
        Ok(Response::new(Box::pin(events)))
    }
}

/// The SSH agent at `path`, of a client that has one unless that is empty.
fn agent(path: String) -> Agent {
    (!path.is_empty()).then(|| path.into())
}

/// The container, the signal and the grace of a request to stop.
fn stopping(request: Request<StopRequest>) -> (String, Option<i32>, Option<Duration>) {
    let StopRequest {
        id,
        signal,
        timeout_ms,
        ssh_agent: _,
    } = request.into_inner();
    let timeout = timeout_ms.map(|ms| Duration::from_millis(ms.into()));
    (id, signal, timeout)
}

/// What a reply carries as JSON.
pub fn to_json(value: &impl Serialize) -> Result<Bytes, Error> {
    let text = serde_json::to_vec(value).map_err(|error| Error::caused(Kind::Internal, error))?;
    Ok(text.into())
}

/// What a request carries as JSON.
pub fn json<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::caused(Kind::InvalidArgument, error).context(what))
}
