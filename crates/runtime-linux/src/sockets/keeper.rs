//! The keeper, as its helper has it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use container_api::chain::about;
use container_api::{Error, Kind, handover, roots};
use container_resource::creation::DEFAULT_RUNTIME;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Mutex;

use super::protocol::{Answer, Ask, Found, Reply, Request};

/// How long it may take to open the sockets, or to connect to one.
const LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to remove them.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long a target may take no connections.
const FULL: Duration = Duration::from_secs(10);
/// The first and the longest pause before it is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// A running keeper. When it is dropped, it removes what it has made and is reaped.
#[derive(Debug)]
pub struct Keeper {
    /// Nothing once it is being ended.
    connection: Mutex<Option<UnixStream>>,
    /// Nothing once it is reaped, or somebody else will do it.
    process: Option<OwnedFd>,
}

impl Keeper {
    /// Starts one for `request`.
    pub async fn start(request: &Request) -> Result<Self, Error> {
        let failed = |error: io::Error| {
            Error::caused(Kind::Internal, error).context("start the keeper of the sockets")
        };
        let (mut connection, process) = spawn().map_err(failed)?;
        let sent = handover::send(&mut connection, request, &[]).await;
        sent.map_err(failed)?;
        Ok(Self {
            connection: Mutex::new(Some(connection)),
            process: Some(process),
        })
    }

    /// Waits for its answer: what the targets are like, and the socket at which it tells of changes.
    pub async fn ready(self) -> Result<(Self, Vec<Found>, UnixStream), Error> {
        let answered = tokio::time::timeout(LIMIT, self.answer()).await;
        let (targets, changes) = answered
            .map_err(|_| Error::new(Kind::Timeout, "the container's sockets do not answer"))??;
        Ok((self, targets, changes))
    }

    async fn answer(&self) -> Result<(Vec<Found>, UnixStream), Error> {
        let broken = |error: io::Error| {
            Error::caused(Kind::Internal, error).context("the keeper of the sockets ended")
        };
        let mut connection = self.connection.lock().await;
        match ask(&mut connection).await.map_err(broken)? {
            (Answer::Ready { targets }, mut descriptors) => {
                let changes = descriptors
                    .pop()
                    .ok_or_else(|| broken(io::ErrorKind::InvalidData.into()))?;
                let changes = UnixStream::from_std(changes.into()).map_err(broken)?;
                Ok((targets, changes))
            }
            (Answer::Failed { kind, reason, hint }, _) => {
                let error = Error::new(kind, reason);
                Err(match hint {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                })
            }
        }
    }

    /// Ends it; returns when what it has made is gone.
    pub async fn end(mut self) {
        *self.connection.get_mut() = None;
        if let Some(process) = self.process.take() {
            farewell(process).await;
        }
    }

    /// A connection to the `target` of this number. Where it takes none at the moment, it is waited for.
    pub async fn connect(&self, target: usize) -> io::Result<UnixStream> {
        let begun = tokio::time::Instant::now();
        let mut pause = RETRY.0;
        loop {
            match self.ask(Ask::Connect(target)).await {
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock && begun.elapsed() < FULL =>
                {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
                connected => return UnixStream::from_std(one(connected?)?.into()),
            }
        }
    }

    /// A socket that listens at `address` of the host.
    pub async fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let socket = self.ask(Ask::Listen(address)).await?;
        TcpListener::from_std(one(socket)?.into())
    }

    /// A stream with the datagrams ([`container_api::datagrams`]) to `address` of the host, until it ends or `address` is [shut](Self::shut).
    pub async fn datagrams(&self, address: SocketAddr) -> io::Result<UnixStream> {
        let stream = self.ask(Ask::Datagrams(address)).await?;
        UnixStream::from_std(one(stream)?.into())
    }

    /// Takes no more datagrams at `address`.
    pub async fn shut(&self, address: SocketAddr) -> io::Result<()> {
        self.ask(Ask::Shut(address)).await.map(drop)
    }

    /// The published socket of this number, which listens from now on.
    pub async fn open(&self, published: usize) -> io::Result<UnixListener> {
        let socket = self.ask(Ask::Open(published)).await?;
        UnixListener::from_std(one(socket)?.into())
    }

    /// Has the published socket of this number refuse from now on.
    pub async fn close(&self, published: usize) -> io::Result<()> {
        self.ask(Ask::Close(published)).await.map(drop)
    }

    async fn ask(&self, what: Ask) -> io::Result<Option<OwnedFd>> {
        let mut connection = self.connection.lock().await;
        let stream = connection.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let asked = async {
            handover::send(stream, &what, &[]).await?;
            handover::receive(stream).await
        };
        let Ok(answered) = tokio::time::timeout(LIMIT, asked).await else {
            // A late answer would be taken for that to the next question.
            *connection = None;
            return Err(io::ErrorKind::TimedOut.into());
        };
        let (Reply { error }, mut descriptors) = answered?.ok_or(io::ErrorKind::UnexpectedEof)?;
        match error {
            None => Ok(descriptors.pop()),
            Some(error) => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

fn one(socket: Option<OwnedFd>) -> io::Result<OwnedFd> {
    socket.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The next message.
async fn ask<T: serde::de::DeserializeOwned>(
    connection: &mut Option<UnixStream>,
) -> io::Result<(T, Vec<OwnedFd>)> {
    let stream = connection.as_mut().ok_or(io::ErrorKind::NotConnected)?;
    let received = handover::receive(stream).await?;
    received.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The end of the stream is what ends it. What is asked of it at the moment is cancelled by whoever drops this.
        *self.connection.get_mut() = None;
        let Some(process) = self.process.take() else {
            return;
        };
        // Nobody is held up by one that hangs.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(farewell(process));
        } else {
            let _ = pidfd_send_signal(&process, Signal::KILL);
        }
    }
}

/// Waits until the process has removed what it made, and reaps it; kills one that hangs.
async fn farewell(process: OwnedFd) {
    // SAFETY: an OwnedFd names one open description as long as it lives.
    let Ok(process) = (unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) })
    else {
        return;
    };
    // Readable: the process has ended (pidfd_open(2)).
    if tokio::time::timeout(GOODBYE, process.readable())
        .await
        .is_err()
    {
        let _ = pidfd_send_signal(process.get_ref(), Signal::KILL);
        let _ = process.readable().await;
    }
    let child = WaitId::PidFd(process.get_ref().as_fd());
    let _ = waitid(child, WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
}

fn spawn() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let program = roots::plugin(&roots::install_root()?, DEFAULT_RUNTIME);
    let child = Command::new(&program)
        .arg("keep-sockets")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| about(program.display(), error))?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let process = pidfd_open(pid.ok_or(io::ErrorKind::InvalidData)?, PidfdFlags::empty())?;
    Ok((UnixStream::from_std(ours)?, process))
}
