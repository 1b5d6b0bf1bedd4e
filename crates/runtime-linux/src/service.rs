//! `proto/runtime.proto`, served.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use container_api::call::to_the_end;
use container_api::guest::{
    FreezeRequest, ProcessesRequest as GuestProcesses, StatisticsRequest as GuestStatistics,
};
use container_api::runtime::runtime_server::Runtime;
use container_api::runtime::{
    ArchiveRequest, AttachReply, AttachRequest, ExecReply, ExecRequest, PauseReply, PauseRequest,
    ProcessesRequest, ResizeReply, ResizeRequest, SignalReply, SignalRequest, StartReply,
    StartRequest, State, StateReply, StateRequest, StatisticsReply, StatisticsRequest, StopReply,
    StopRequest, WaitRequest,
};
use container_api::types::{Exit, Processes};
use container_api::{Error, Kind};
use tonic::{Request, Response, Status};

use crate::container::{Container, Stage, answer};
use crate::process::Ended;
use crate::stdio::TerminalSize;

/// How long processes may take to be gone after SIGKILL before the machine itself is ended.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// The calls of one container.
#[derive(Debug)]
pub struct Service(pub Arc<Container>);

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Runtime for Service {
    async fn start(&self, request: Request<StartRequest>) -> Reply<StartReply> {
        let stdio = self.0.stdio(request.into_inner().stdio)?;
        let started = self.0.start(stdio).await?;
        let timeline = serde_json::to_vec(&started.timeline)
            .map_err(|error| Error::chain(Kind::Internal, &error))?;
        Ok(Response::new(StartReply {
            started_ms: started.at.as_millisecond(),
            timeline: timeline.into(),
            template_wanted: started.template_wanted,
        }))
    }

    async fn exec(&self, request: Request<ExecRequest>) -> Reply<ExecReply> {
        let request = request.into_inner();
        let stdio = self.0.stdio(request.stdio)?;
        let process = serde_json::from_slice(&request.configuration).map_err(|error| {
            Error::chain(Kind::InvalidArgument, &error).context("process configuration")
        })?;
        let container = self.0.clone();
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
        let stdio = self.0.stdio(stdio)?;
        let container = self.0.clone();
        to_the_end(async move { container.archive(&process, words, stdio).await }).await?;
        Ok(Response::new(ExecReply {}))
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Reply<Exit> {
        let id = request.into_inner().process;
        let ended = if id.is_empty() {
            self.0.ended().await?
        } else {
            let ended = self.0.process(&id)?.ended().await;
            self.0.forget(&id);
            self.0.with_its_container(ended).await
        };
        let Ended {
            exit_code,
            at,
            oom_killed,
            reason,
        } = ended;
        let reason = reason.unwrap_or_default();
        Ok(Response::new(Exit {
            exit_code,
            exited_ms: at.as_millisecond(),
            reason,
            oom_killed,
        }))
    }

    async fn signal(&self, request: Request<SignalRequest>) -> Reply<SignalReply> {
        let SignalRequest { process, signal } = request.into_inner();
        self.0.signal(&process, signal, false).await?;
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
        self.0.resize(&process, size).await?;
        Ok(Response::new(ResizeReply {}))
    }

    async fn stop(&self, request: Request<StopRequest>) -> Reply<StopReply> {
        let StopRequest {
            signal,
            timeout_ms,
            keep,
        } = request.into_inner();
        if keep {
            self.0.keep.store(true, Ordering::Relaxed);
        }
        let (container, grace) = (self.0.clone(), Duration::from_millis(timeout_ms.into()));
        let stopped = async move {
            stop(&container, signal, grace).await;
            Ok::<_, Error>(())
        };
        to_the_end(stopped).await?;
        Ok(Response::new(StopReply {}))
    }

    async fn state(&self, _: Request<StateRequest>) -> Reply<StateReply> {
        let (state, started_ms) = match &*self.0.stage.borrow() {
            Stage::Booting => (State::Booting, 0),
            Stage::Running { started, .. } => {
                let state = if *self.0.stopping.borrow() {
                    State::Stopping
                } else if *self.0.paused.borrow() {
                    State::Paused
                } else {
                    State::Running
                };
                (state, started.at.as_millisecond())
            }
            Stage::Failed(_) | Stage::Stopped(_) => (State::Stopped, 0),
        };
        Ok(Response::new(StateReply {
            state: state.into(),
            started_ms,
        }))
    }

    async fn statistics(&self, _: Request<StatisticsRequest>) -> Reply<StatisticsReply> {
        let mut guest = self.0.guest()?.calls();
        let inside = self.0.ask(guest.statistics(GuestStatistics {})).await?;
        let memory = self.0.memory.get();
        Ok(Response::new(StatisticsReply {
            guest: Some(inside),
            host_memory_bytes: memory.and_then(|memory| memory.bytes().ok()).unwrap_or(0),
        }))
    }

    async fn pause(&self, request: Request<PauseRequest>) -> Reply<PauseReply> {
        let PauseRequest { paused } = request.into_inner();
        let mut guest = self.0.guest()?.calls();
        let before = *self.0.paused.borrow();
        let frozen = guest.freeze(FreezeRequest { frozen: paused });
        if let Err(error) = self.0.ask(frozen).await {
            if error.kind == Kind::Timeout {
                // A guest that goes on does what it was asked for meanwhile: it is asked to take that back.
                tokio::spawn(async move { guest.freeze(FreezeRequest { frozen: before }).await });
            }
            return Err(error.into());
        }
        self.0.paused.send_replace(paused);
        Ok(Response::new(PauseReply {}))
    }

    async fn processes(&self, _: Request<ProcessesRequest>) -> Reply<Processes> {
        let mut guest = self.0.guest()?.calls();
        let inside = self.0.ask(guest.processes(GuestProcesses {})).await?;
        Ok(Response::new(inside))
    }

    async fn attach(&self, request: Request<AttachRequest>) -> Reply<AttachReply> {
        let request = request.into_inner();
        let stdio = self.0.stdio(request.stdio)?;
        let size = stdio.size;
        self.0.process(&request.process)?.attach(stdio).await?;
        if let (Some(size), true) = (size, self.0.configuration.init_process.terminal) {
            self.0.resize(&request.process, size).await?;
        }
        Ok(Response::new(AttachReply {}))
    }
}

/// Asks the first process to end, then makes it, then ends the machine. Answers when the machine is gone.
async fn stop(container: &Container, signal: i32, grace: Duration) {
    container.stopping.send_replace(true);
    if *container.paused.borrow() {
        if let Ok(guest) = container.guest() {
            // Frozen processes take no signal but SIGKILL; if this fails the kill below does it.
            let _ = answer(guest.calls().freeze(FreezeRequest { frozen: false })).await;
            container.paused.send_replace(false);
        }
    }
    let stopped = async {
        // Why it ended is told to whoever waits for it.
        let _ = container.stopped().await;
    };
    tokio::pin!(stopped);
    let steps = [(signal, false, grace), (libc::SIGKILL, true, KILL_TIMEOUT)];
    for (signal, all, wait) in steps {
        // A guest that hangs takes its time from the same span.
        let step = async {
            container.booted().await;
            if !grace.is_zero() || all {
                if let Err(error) = container.signal("", signal, all).await {
                    tracing::debug!("signal {signal}: {error}");
                }
            }
            (&mut stopped).await;
        };
        if tokio::time::timeout(wait, step).await.is_ok() {
            return;
        }
        // A client that reads nothing (Ctrl-S, Ctrl-Z) has had its time, and is no reason to cut the machine off.
        let exited = container
            .process("")
            .is_ok_and(|first| first.let_clients_go());
        if exited {
            return stopped.await;
        }
    }
    container.kill_machine.notify_one();
    stopped.await;
}
