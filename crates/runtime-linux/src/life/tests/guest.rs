//! A guest that does what a test says: it speaks vminitd's protocol, and has no kernel.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use container_api::guest::guest_server::{Guest, GuestServer};
use container_api::guest::{
    ArchiveRequest, ClockReply, ClockRequest, CloseOutputReply, CloseOutputRequest, ExecReply,
    ExecRequest, ForgetReply, ForgetRequest, FreezeReply, FreezeRequest, JoinReply, JoinRequest,
    LeaveReply, LeaveRequest, ListenReply, ListenRequest, ListenersReply, ListenersRequest,
    ProcessesRequest, PublishedReply, PublishedRequest, ResetReply, ResetRequest, ResizeReply,
    ResizeRequest, ShutdownReply, ShutdownRequest, SignalReply, SignalRequest, StartReply,
    StartRequest, StatisticsRequest, WaitReply, WaitRequest,
};
use container_api::streams::StandardStream;
use container_api::types::{Processes, Statistics};
use container_api::{Error, Kind, greeting};
use container_engine::scripted::{GuestSide, Power};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codegen::{BoxStream, Service as _, http};
use tonic::{Request, Response, Status, async_trait};

/// What a guest does at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What vminitd does.
    Well,
    /// It refuses.
    Refuses,
    /// Nothing, ever.
    Hangs,
    /// Its VMM is killed.
    Dies,
    /// It closes its channel, and its machine stays.
    HangsUp,
}

/// What a guest does.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// When it is up.
    pub hello: Answer,
    /// When it is to start the container.
    pub start: Answer,
    /// When the first process gets a signal that it may handle.
    pub signal: Answer,
    /// When all processes are to be killed.
    pub kill: Answer,
    /// When it is to switch itself off.
    pub shutdown: Answer,
    /// When a network comes or goes.
    pub connect: Answer,
    /// With what the first process exits by itself, at once.
    pub exits: Option<i32>,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            hello: Answer::Well,
            start: Answer::Well,
            signal: Answer::Well,
            kill: Answer::Well,
            shutdown: Answer::Well,
            connect: Answer::Well,
            exits: None,
        }
    }
}

/// What the first process says.
pub const OUTPUT: &str = "hello\n";

/// Plays the guest of the machine `side`.
pub fn play(manners: Manners, side: GuestSide) {
    tokio::spawn(async move {
        let power = side.power.clone();
        // With the machine the guest is gone, whatever it does.
        tokio::select! {
            () = run(manners, side) => {}
            _ = power.ended() => {}
        }
    });
}

async fn run(manners: Manners, side: GuestSide) {
    let GuestSide {
        mut channel,
        power,
        restored,
        room: _,
    } = side;
    let hello = format!("{}{{}}\n", greeting::MAGIC);
    let first_words = match manners.hello {
        // It has said them before it was saved.
        Answer::Well if restored => String::new(),
        Answer::Well => hello,
        Answer::Refuses => "what do you want?\n".to_owned(),
        Answer::Hangs => pending().await,
        Answer::Dies => return power.killed(libc::SIGSEGV),
        Answer::HangsUp => {
            drop(channel);
            return pending().await;
        }
    };
    // The host may have gone.
    let _ = channel.write_all(first_words.as_bytes()).await;
    let (wish, mut wishes) = watch::channel(Wish::Serve);
    let service = Arc::new(Scripted {
        manners,
        power: power.clone(),
        wish,
        exited: watch::Sender::new(manners.exits),
    });
    let calls = service_fn(move |request| answer(service.clone(), request));
    let connection =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(channel), calls);
    let mut connection = Box::pin(connection);
    let switches_off = tokio::select! {
        _ = &mut connection => false,
        wish = wishes.wait_for(|wish| *wish != Wish::Serve) => {
            wish.is_ok_and(|wish| *wish == Wish::SwitchOff)
        }
    };
    if switches_off {
        // The last answer is on its way.
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
        return power.off();
    }
    drop(connection);
    pending::<()>().await;
}

/// What a call wants of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Serve,
    HangUp,
    SwitchOff,
}

async fn answer(
    service: Arc<Scripted>,
    request: http::Request<Incoming>,
) -> Result<http::Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    match StandardStream::parse(&path) {
        Some((StandardStream::Stdin, _)) => {
            // Taken, and read by nobody.
            let _ = request.into_body().collect().await;
            Ok(http::Response::new(Body::empty()))
        }
        Some((stream, _)) => {
            let said = match stream {
                StandardStream::Stdout => OUTPUT,
                _ => "",
            };
            let body = Full::new(Bytes::from_static(said.as_bytes()));
            Ok(http::Response::new(Body::new(body)))
        }
        None => GuestServer::from_arc(service).call(request).await,
    }
}

#[derive(Debug)]
struct Scripted {
    manners: Manners,
    power: Power,
    wish: watch::Sender<Wish>,
    /// With what the first process has exited.
    exited: watch::Sender<Option<i32>>,
}

type Reply<T> = Result<Response<T>, Status>;

impl Scripted {
    async fn step<T>(&self, answer: Answer, well: T) -> Reply<T> {
        match answer {
            Answer::Well => return Ok(Response::new(well)),
            Answer::Refuses => {
                return Err(Error::new(Kind::NotFound, "no such program: sh").into());
            }
            Answer::Hangs => {}
            Answer::Dies => self.power.killed(libc::SIGSEGV),
            Answer::HangsUp => drop(self.wish.send(Wish::HangUp)),
        }
        pending().await
    }
}

fn unused<T>() -> Reply<T> {
    Err(Status::unimplemented("no test asks for it"))
}

#[async_trait]
impl Guest for Scripted {
    async fn start(&self, _: Request<StartRequest>) -> Reply<StartReply> {
        self.step(self.manners.start, StartReply::default()).await
    }

    async fn reset(&self, _: Request<ResetRequest>) -> Reply<ResetReply> {
        self.exited.send_replace(self.manners.exits);
        Ok(Response::new(ResetReply {}))
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Reply<WaitReply> {
        let rehearses = request.into_inner().process == "rehearsal";
        let mut exited = self.exited.subscribe();
        let exit_code = if rehearses {
            0
        } else {
            let exited = exited.wait_for(Option::is_some).await;
            exited.map_or(None, |code| *code).unwrap_or_default()
        };
        Ok(Response::new(WaitReply {
            exit_code,
            oom_killed: false,
        }))
    }

    async fn signal(&self, request: Request<SignalRequest>) -> Reply<SignalReply> {
        let SignalRequest { signal, all, .. } = request.into_inner();
        let manners = if all {
            self.manners.kill
        } else {
            self.manners.signal
        };
        let reply = self.step(manners, SignalReply {}).await?;
        self.exited.send_replace(Some(128 + signal));
        Ok(reply)
    }

    async fn shutdown(&self, _: Request<ShutdownRequest>) -> Reply<ShutdownReply> {
        let reply = self.step(self.manners.shutdown, ShutdownReply {}).await?;
        self.wish.send_replace(Wish::SwitchOff);
        Ok(reply)
    }

    async fn processes(&self, _: Request<ProcessesRequest>) -> Reply<Processes> {
        Ok(Response::new(Processes::default()))
    }

    type ListenersStream = BoxStream<ListenersReply>;

    async fn listeners(&self, _: Request<ListenersRequest>) -> Reply<Self::ListenersStream> {
        unused()
    }

    type PublishedStream = BoxStream<PublishedReply>;

    async fn published(&self, _: Request<PublishedRequest>) -> Reply<Self::PublishedStream> {
        unused()
    }

    async fn listen(&self, _: Request<ListenRequest>) -> Reply<ListenReply> {
        unused()
    }

    async fn exec(&self, _: Request<ExecRequest>) -> Reply<ExecReply> {
        unused()
    }

    async fn archive(&self, _: Request<ArchiveRequest>) -> Reply<ExecReply> {
        unused()
    }

    async fn resize(&self, _: Request<ResizeRequest>) -> Reply<ResizeReply> {
        unused()
    }

    async fn close_output(&self, _: Request<CloseOutputRequest>) -> Reply<CloseOutputReply> {
        unused()
    }

    async fn statistics(&self, _: Request<StatisticsRequest>) -> Reply<Statistics> {
        unused()
    }

    async fn clock(&self, _: Request<ClockRequest>) -> Reply<ClockReply> {
        Ok(Response::new(ClockReply::default()))
    }

    async fn forget(&self, _: Request<ForgetRequest>) -> Reply<ForgetReply> {
        unused()
    }

    async fn join(&self, _: Request<JoinRequest>) -> Reply<JoinReply> {
        let name = "eth1".to_owned();
        self.step(self.manners.connect, JoinReply { name }).await
    }

    async fn leave(&self, _: Request<LeaveRequest>) -> Reply<LeaveReply> {
        self.step(self.manners.connect, LeaveReply {}).await
    }

    async fn freeze(&self, _: Request<FreezeRequest>) -> Reply<FreezeReply> {
        Ok(Response::new(FreezeReply {}))
    }
}
