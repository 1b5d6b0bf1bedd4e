//! The Guest service: requests in, agent's answers out.

use std::future::Future;
use std::sync::Arc;

use container_api::call::to_the_end;
use container_api::guest::guest_server::Guest;
use container_api::guest::{
    ArchiveRequest, ClockReply, ClockRequest, CloseOutputReply, CloseOutputRequest, ExecReply,
    ExecRequest, ForgetReply, ForgetRequest, FreezeReply, FreezeRequest, JoinReply, JoinRequest,
    LeaveReply, LeaveRequest, ListenReply, ListenRequest, ListenersReply, ListenersRequest,
    ProcessesRequest, PublishedReply, PublishedRequest, ResetReply, ResetRequest, ResizeReply,
    ResizeRequest, ShutdownReply, ShutdownRequest, SignalReply, SignalRequest, StartReply,
    StartRequest, StatisticsRequest, WaitReply, WaitRequest,
};
use container_api::types::{Processes, Statistics};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, async_trait};

use crate::agent::{Agent, AgentError, resize};
use crate::clock::{realtime_ns, shift_realtime};
use crate::container::processes;
use crate::network::listeners;
use crate::sockets;

/// Serves one agent.
#[derive(Clone, Debug)]
pub struct Service(Arc<Agent>);

impl Service {
    /// Serves `agent`.
    pub fn new(agent: Arc<Agent>) -> Self {
        Self(agent)
    }

    /// What is served.
    pub fn agent(&self) -> &Agent {
        &self.0
    }

    /// Whether a shutdown was carried out.
    pub fn is_shut_down(&self) -> bool {
        self.0.is_shut_down()
    }

    /// Waits until a shutdown was carried out.
    pub fn shut_down(&self) -> impl Future<Output = ()> + '_ {
        self.0.shutting_down()
    }
}

#[async_trait]
impl Guest for Service {
    async fn start(&self, request: Request<StartRequest>) -> Result<Response<StartReply>, Status> {
        let agent = Arc::clone(&self.0);
        let work = async move { agent.start(request.into_inner()).await };
        Ok(Response::new(to_the_end(work).await?))
    }

    async fn reset(&self, _: Request<ResetRequest>) -> Result<Response<ResetReply>, Status> {
        let agent = Arc::clone(&self.0);
        to_the_end(async move { agent.reset().await }).await?;
        Ok(Response::new(ResetReply {}))
    }

    async fn exec(&self, request: Request<ExecRequest>) -> Result<Response<ExecReply>, Status> {
        let ExecRequest {
            process,
            oci_process,
            user,
            stdin,
            apart,
        } = request.into_inner();
        let plan = serde_json::from_slice(&oci_process).map_err(AgentError::Json)?;
        let agent = Arc::clone(&self.0);
        let work = async move { agent.exec(process, plan, &user, stdin, apart).await };
        let process = to_the_end(work).await?;
        Ok(Response::new(ExecReply {
            pid: process.pid.as_raw_nonzero().get(),
        }))
    }

    async fn archive(
        &self,
        request: Request<ArchiveRequest>,
    ) -> Result<Response<ExecReply>, Status> {
        let ArchiveRequest { process, words } = request.into_inner();
        let agent = Arc::clone(&self.0);
        let words: Vec<Vec<u8>> = words.into_iter().map(Into::into).collect();
        let process = to_the_end(async move { agent.archive(process, &words).await }).await?;
        Ok(Response::new(ExecReply {
            pid: process.pid.as_raw_nonzero().get(),
        }))
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Result<Response<WaitReply>, Status> {
        let exit = self.0.process(&request.into_inner().process)?.wait().await;
        Ok(Response::new(WaitReply {
            exit_code: exit.code,
            oom_killed: exit.oom_killed,
        }))
    }

    async fn signal(
        &self,
        request: Request<SignalRequest>,
    ) -> Result<Response<SignalReply>, Status> {
        let SignalRequest {
            process,
            signal,
            all,
        } = request.into_inner();
        self.0.signal(&process, signal, all)?;
        Ok(Response::new(SignalReply {}))
    }

    async fn resize(
        &self,
        request: Request<ResizeRequest>,
    ) -> Result<Response<ResizeReply>, Status> {
        let ResizeRequest {
            process,
            rows,
            columns,
        } = request.into_inner();
        resize(&*self.0.process(&process)?, rows, columns)?;
        Ok(Response::new(ResizeReply {}))
    }

    async fn close_output(
        &self,
        request: Request<CloseOutputRequest>,
    ) -> Result<Response<CloseOutputReply>, Status> {
        let CloseOutputRequest { process, stderr } = request.into_inner();
        self.0.process(&process)?.close(stderr);
        Ok(Response::new(CloseOutputReply {}))
    }

    async fn statistics(
        &self,
        _: Request<StatisticsRequest>,
    ) -> Result<Response<Statistics>, Status> {
        Ok(Response::new(self.0.statistics()?))
    }

    async fn freeze(
        &self,
        request: Request<FreezeRequest>,
    ) -> Result<Response<FreezeReply>, Status> {
        self.0.freeze(request.into_inner().frozen).await?;
        Ok(Response::new(FreezeReply {}))
    }

    async fn forget(&self, _: Request<ForgetRequest>) -> Result<Response<ForgetReply>, Status> {
        self.0.forget().await?;
        Ok(Response::new(ForgetReply {}))
    }

    async fn clock(&self, request: Request<ClockRequest>) -> Result<Response<ClockReply>, Status> {
        let ClockRequest { shift_ns, at_once } = request.into_inner();
        if shift_ns != 0 {
            shift_realtime(shift_ns, at_once).map_err(AgentError::Clock)?;
        }
        let realtime_ns = realtime_ns();
        Ok(Response::new(ClockReply { realtime_ns }))
    }

    async fn processes(&self, _: Request<ProcessesRequest>) -> Result<Response<Processes>, Status> {
        let processes = processes(&self.0.container()?.cgroup);
        Ok(Response::new(Processes { processes }))
    }

    type ListenersStream = BoxStream<'static, Result<ListenersReply, Status>>;

    async fn listeners(
        &self,
        _: Request<ListenersRequest>,
    ) -> Result<Response<Self::ListenersStream>, Status> {
        self.0.container()?;
        Ok(Response::new(listeners().boxed()))
    }

    async fn listen(
        &self,
        request: Request<ListenRequest>,
    ) -> Result<Response<ListenReply>, Status> {
        let ListenRequest { socket, listening } = request.into_inner();
        let socket = usize::try_from(socket).unwrap_or(usize::MAX);
        let agent = Arc::clone(&self.0);
        // Half of it would be neither.
        to_the_end(async move { agent.listen(socket, listening).await }).await?;
        Ok(Response::new(ListenReply {}))
    }

    type PublishedStream = BoxStream<'static, Result<PublishedReply, Status>>;

    async fn published(
        &self,
        _: Request<PublishedRequest>,
    ) -> Result<Response<Self::PublishedStream>, Status> {
        let (sockets, leader) = self.0.sockets()?;
        Ok(Response::new(sockets::watch(sockets, leader).boxed()))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        let JoinRequest { interface, files } = request.into_inner();
        let interface = interface.ok_or(AgentError::Missing("an interface"))?;
        let name = self.0.connect(&interface, &files)?;
        Ok(Response::new(JoinReply { name }))
    }

    async fn leave(&self, request: Request<LeaveRequest>) -> Result<Response<LeaveReply>, Status> {
        let LeaveRequest {
            device_mac,
            heir,
            files,
        } = request.into_inner();
        self.0.disconnect(&device_mac, heir.as_ref(), &files)?;
        Ok(Response::new(LeaveReply {}))
    }

    async fn shutdown(
        &self,
        request: Request<ShutdownRequest>,
    ) -> Result<Response<ShutdownReply>, Status> {
        let agent = Arc::clone(&self.0);
        let work = async move {
            if request.into_inner().only_volumes {
                agent.give_volumes_up().await;
            } else {
                agent.shut_down().await;
            }
            Ok::<_, AgentError>(())
        };
        to_the_end(work).await?;
        Ok(Response::new(ShutdownReply {}))
    }
}
