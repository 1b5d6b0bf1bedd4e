//! `proto/runtime.proto`, translated into calls of the library.

use std::sync::Arc;
use std::time::Duration;

use container_api::call::to_the_end;
use container_api::descriptors::Descriptors;
use container_api::runtime::runtime_server::Runtime;
use container_api::runtime::{
    self, ArchiveRequest, AttachReply, AttachRequest, ExecReply, ExecRequest, JoinReply,
    JoinRequest, LeaveReply, LeaveRequest, PauseReply, PauseRequest, ProcessesRequest, ResizeReply,
    ResizeRequest, RoomReply, RoomRequest, SignalReply, SignalRequest, StartReply, StartRequest,
    StateReply, StateRequest, StatisticsReply, StatisticsRequest, StopReply, StopRequest,
    WaitRequest,
};
use container_api::types::{self, Exit, Processes};
use container_api::{Error, Kind};
use container_resource::bundle::Interface;
use container_runtime_linux::{Container, Ended, Origin, State, Stdio, TerminalSize, Usage};
use tonic::{Request, Response, Status};

use super::stdio;

/// The calls of one container.
#[derive(Debug)]
pub struct Service {
    /// The container.
    pub container: Arc<Container>,
    /// Descriptors that clients have handed over.
    pub descriptors: Descriptors,
}

type Reply<T> = Result<Response<T>, Status>;

impl Service {
    fn stdio(&self, told: Option<types::Stdio>) -> Result<Stdio, Error> {
        stdio::take(&self.descriptors, told)
    }
}

fn interfaces_of(json: &[u8]) -> Result<Vec<Interface>, Error> {
    serde_json::from_slice(json)
        .map_err(|error| Error::caused(Kind::InvalidArgument, error).context("interfaces"))
}

#[tonic::async_trait]
impl Runtime for Service {
    async fn start(&self, request: Request<StartRequest>) -> Reply<StartReply> {
        let stdio = self.stdio(request.into_inner().stdio)?;
        let started = self.container.start(stdio).await?;
        let timeline = serde_json::to_vec(&started.timeline)
            .map_err(|error| Error::caused(Kind::Internal, error))?;
        Ok(Response::new(StartReply {
            started_ms: started.at.as_millisecond(),
            timeline: timeline.into(),
            template_wanted: started.origin.wants_template(),
            origin: match started.origin {
                Origin::Cold { .. } => runtime::Origin::Cold,
                Origin::Template => runtime::Origin::Template,
                Origin::Standby => runtime::Origin::Standby,
            }
            .into(),
        }))
    }

    async fn exec(&self, request: Request<ExecRequest>) -> Reply<ExecReply> {
        let request = request.into_inner();
        let stdio = self.stdio(request.stdio)?;
        let process = serde_json::from_slice(&request.configuration).map_err(|error| {
            Error::caused(Kind::InvalidArgument, error).context("process configuration")
        })?;
        let container = self.container.clone();
        let exec = async move {
            let id = &request.process;
            container.exec(id, &process, stdio, request.apart).await
        };
        to_the_end(exec).await?;
        Ok(Response::new(ExecReply {}))
    }

    async fn archive(&self, request: Request<ArchiveRequest>) -> Reply<ExecReply> {
        let ArchiveRequest {
            process,
            words,
            stdio,
        } = request.into_inner();
        let stdio = self.stdio(stdio)?;
        let container = self.container.clone();
        to_the_end(async move { container.archive(&process, words, stdio).await }).await?;
        Ok(Response::new(ExecReply {}))
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Reply<Exit> {
        let id = request.into_inner().process;
        let Ended {
            exit_code,
            at,
            oom_killed,
            reason,
        } = self.container.wait(&id).await?;
        Ok(Response::new(Exit {
            exit_code,
            exited_ms: at.as_millisecond(),
            reason: reason.unwrap_or_default(),
            oom_killed,
        }))
    }

    async fn signal(&self, request: Request<SignalRequest>) -> Reply<SignalReply> {
        let SignalRequest { process, signal } = request.into_inner();
        self.container.signal(&process, signal).await?;
        Ok(Response::new(SignalReply {}))
    }

    async fn resize(&self, request: Request<ResizeRequest>) -> Reply<ResizeReply> {
        let ResizeRequest {
            process,
            rows,
            columns,
        } = request.into_inner();
        let size = TerminalSize::told(rows, columns)
            .ok_or_else(|| Error::new(Kind::InvalidArgument, "no terminal has such a size"))?;
        self.container.resize(&process, size).await?;
        Ok(Response::new(ResizeReply {}))
    }

    async fn stop(&self, request: Request<StopRequest>) -> Reply<StopReply> {
        let StopRequest {
            signal,
            timeout_ms,
            keep,
        } = request.into_inner();
        let (container, grace) = (
            self.container.clone(),
            Duration::from_millis(timeout_ms.into()),
        );
        let stopped = async move {
            container.stop(signal, grace, keep).await;
            Ok::<_, Error>(())
        };
        to_the_end(stopped).await?;
        Ok(Response::new(StopReply {}))
    }

    async fn state(&self, request: Request<StateRequest>) -> Reply<StateReply> {
        let state = if request.into_inner().settled {
            self.container.settled().await
        } else {
            self.container.state()
        };
        let (state, started) = match state {
            State::Booting => (runtime::State::Booting, None),
            State::Running { started } => (runtime::State::Running, Some(started)),
            State::Paused { started } => (runtime::State::Paused, Some(started)),
            State::Stopping { started } => (runtime::State::Stopping, Some(started)),
            State::Stopped => (runtime::State::Stopped, None),
        };
        Ok(Response::new(StateReply {
            state: state.into(),
            started_ms: started.map_or(0, jiff::Timestamp::as_millisecond),
            protocol: container_api::protocol::CURRENT,
        }))
    }

    async fn room(&self, request: Request<RoomRequest>) -> Reply<RoomReply> {
        let known = request.into_inner().stands_still;
        let why = self.container.room_changed(known).await;
        Ok(Response::new(RoomReply {
            stands_still: why.is_some(),
            why: why.map(|why| why.word().to_owned()).unwrap_or_default(),
        }))
    }

    async fn statistics(&self, _: Request<StatisticsRequest>) -> Reply<StatisticsReply> {
        let Usage {
            guest,
            host_memory_bytes,
        } = self.container.statistics().await?;
        Ok(Response::new(StatisticsReply {
            guest: Some(guest),
            host_memory_bytes: host_memory_bytes.unwrap_or(0),
        }))
    }

    async fn pause(&self, request: Request<PauseRequest>) -> Reply<PauseReply> {
        self.container.pause(request.into_inner().paused).await?;
        Ok(Response::new(PauseReply {}))
    }

    async fn processes(&self, _: Request<ProcessesRequest>) -> Reply<Processes> {
        Ok(Response::new(self.container.processes().await?))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Reply<JoinReply> {
        let JoinRequest { interfaces, token } = request.into_inner();
        let interfaces = interfaces_of(&interfaces)?;
        let taps = self.descriptors.take(&token).unwrap_or_default();
        let tap = taps.into_iter().next();
        let tap = tap.ok_or_else(|| Error::new(Kind::InvalidArgument, "no tap was handed over"))?;
        let container = self.container.clone();
        let connect = async move { container.connect(&interfaces, tap).await };
        let device_mac = to_the_end(connect).await?;
        Ok(Response::new(JoinReply { device_mac }))
    }

    async fn leave(&self, request: Request<LeaveRequest>) -> Reply<LeaveReply> {
        let LeaveRequest {
            interfaces,
            network,
            heir,
        } = request.into_inner();
        let interfaces = interfaces_of(&interfaces)?;
        let container = self.container.clone();
        let disconnect = async move {
            let heir = Some(heir.as_str()).filter(|heir| !heir.is_empty());
            container.disconnect(&interfaces, &network, heir).await
        };
        to_the_end(disconnect).await?;
        Ok(Response::new(LeaveReply {}))
    }

    async fn attach(&self, request: Request<AttachRequest>) -> Reply<AttachReply> {
        let request = request.into_inner();
        let stdio = self.stdio(request.stdio)?;
        self.container.attach(&request.process, stdio).await?;
        Ok(Response::new(AttachReply {}))
    }
}
