//! The processes that serve the host's directories and files to the machine: one for all of them, and one more for each map of owners.
//!
//! Such a process is started before the VMM, while this process may still start others. It ends when the VMM closes its socket, and when this
//! process ends; its own end is the machine's.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use container_api::chain::about;
use container_api::guest::ForgetRequest;
use container_api::guest_channel::Guest;
use container_api::{Error, Kind, inherited, roots, socket};
use container_engine::{Allowance, Share, Vm};
use container_resource::bundle::Bundle;
use container_resource::container::ContainerConfiguration;
use container_resource::share::{self, Answer, Request, Served, Source};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::Mutex;

/// What serves them.
const PROGRAM: &str = "container-share-virtiofs";

/// How long it may take to open them. A share of a network file system may be slow.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Most bytes of its answer.
const ANSWER_LIMIT: u64 = 64 << 10;

/// Running processes that serve shares.
#[derive(Debug)]
pub struct Shares {
    servers: Vec<Server>,
}

/// Those that have not answered yet.
#[derive(Debug)]
pub struct Starting {
    servers: Vec<StartingServer>,
}

/// One that has answered.
#[derive(Debug)]
struct Server {
    process: Process,
    /// What it says after its first answer; it goes on when nobody listens.
    words: Mutex<Words>,
}

/// A running process; killed and reaped when dropped.
#[derive(Debug)]
struct Process {
    pid: u32,
    pidfd: AsyncFd<OwnedFd>,
}

type Words = BufReader<pipe::Receiver>;

#[derive(Debug)]
struct StartingServer {
    process: Process,
    tag: String,
    answer: ChildStdout,
    connection: OwnedFd,
}

impl Shares {
    /// Starts the processes, if the container has shares.
    pub fn start(
        bundle: &Bundle,
        configuration: &ContainerConfiguration,
    ) -> Result<Option<Starting>, Error> {
        let served = share::served(&configuration.mounts)
            .map_err(|error| Error::caused(Kind::InvalidArgument, error))?;
        let spawn = |served: &Served<'_>| {
            spawn(bundle, served).map_err(|error| {
                Error::caused(Kind::Internal, error).context(format_args!("start {PROGRAM}"))
            })
        };
        let servers = served.iter().map(spawn).collect::<Result<Vec<_>, _>>()?;
        Ok((!servers.is_empty()).then_some(Starting { servers }))
    }

    /// Puts the processes into the cgroup of the VMM that they serve, before its guest asks them for anything.
    pub fn join(&self, vm: &mut Vm) -> Result<(), Error> {
        let more = Allowance {
            memory: share::MEMORY_LIMIT,
            threads: share::THREAD_LIMIT,
        };
        let mut servers = self.servers.iter();
        servers
            .try_for_each(|server| vm.admit(server.process.pid, more))
            .map_err(|error| {
                Error::caused(Kind::Internal, error)
                    .context("put the process of the bind mounts into a cgroup")
            })
    }

    /// Has `guest` let go of files when a process of `shares` has few descriptors left, until one of them ends, which is the end of the
    /// machine's files. May be cancelled at any time.
    pub async fn serve(shares: Option<&Self>, guest: &Guest) -> Error {
        let servers = shares.map_or(&[][..], |shares| &shares.servers);
        let mut ends: FuturesUnordered<_> = servers
            .iter()
            // Becomes readable when the process ends, and stays so.
            .map(|server| server.process.pidfd.readable())
            .collect();
        let mut calls: FuturesUnordered<_> =
            servers.iter().map(|server| server.listen(guest)).collect();
        let ended = loop {
            tokio::select! {
                ended = ends.next() => break ended,
                Some(()) = calls.next() => {}
            }
        };
        let text = match ended {
            None => return std::future::pending().await,
            Some(Ok(_)) => "the process that serves the container's bind mounts ended".to_owned(),
            Some(Err(error)) => {
                return Error::caused(Kind::Internal, error).context(
                    "the process that serves the container's bind mounts cannot be watched",
                );
            }
        };
        Error::new(Kind::Internal, text)
    }
}

impl Server {
    /// Does what the process asks for, until it says no more.
    async fn listen(&self, guest: &Guest) {
        let mut words = self.words.lock().await;
        while let Ok(Answer::Crowded) = read_answer(&mut words).await {
            let asked = guest.calls().forget(ForgetRequest {}).await;
            if let Err(status) = asked {
                tracing::debug!("the guest lets go of no files: {}", Error::of_guest(status));
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Neither fails for a child that has not been reaped.
        let _ = pidfd_send_signal(self.pidfd.get_ref(), Signal::KILL);
        let _ = rustix::io::retry_on_intr(|| {
            let process = WaitId::PidFd(self.pidfd.get_ref().as_fd());
            waitid(process, WaitIdOptions::EXITED)
        });
    }
}

impl Starting {
    /// Waits until all is served: the processes, and the devices of the machine.
    pub async fn ready(self) -> Result<(Shares, Vec<Share>), Error> {
        let all = self.servers.into_iter().map(StartingServer::ready);
        let all = futures::future::try_join_all(all).await?;
        let (servers, shares) = all.into_iter().unzip();
        Ok((Shares { servers }, shares))
    }
}

impl StartingServer {
    async fn ready(self) -> Result<(Server, Share), Error> {
        let failed = |error: io::Error| {
            Error::caused(Kind::Internal, error).context(format_args!("{PROGRAM} did not start"))
        };
        let words = pipe::Receiver::from_owned_fd(self.answer.into()).map_err(failed)?;
        let mut words = BufReader::new(words);
        let answer = tokio::time::timeout(READY_LIMIT, read_answer(&mut words))
            .await
            .map_err(|_| Error::new(Kind::Timeout, "the container's bind mounts do not answer"))?
            .map_err(failed)?;
        if let Answer::Failed { reason } = answer {
            return Err(Error::new(Kind::InvalidArgument, reason));
        }
        let share = Share {
            tag: self.tag,
            server: Arc::new(self.connection),
        };
        let server = Server {
            process: self.process,
            words: Mutex::new(words),
        };
        Ok((server, share))
    }
}

/// What the process of `served` is asked for.
fn request(served: &Served<'_>) -> Request {
    let shares = served.mounts.iter().map(|mount| Source {
        path: (&mount.source).into(),
        read_only: mount.is_read_only(),
    });
    Request {
        shares: shares.collect(),
        idmap: served.idmap.clone(),
    }
}

fn spawn(bundle: &Bundle, served: &Served<'_>) -> io::Result<StartingServer> {
    let (listener, connection) = connection(bundle)?;
    let program = roots::plugin(&roots::install_root()?, PROGRAM);
    let mut command = Command::new(&program);
    command
        .args([
            "serve".as_ref(),
            "--bundle".as_ref(),
            bundle.directory().as_os_str(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .fd_mappings(vec![FdMapping {
            parent_fd: listener.into(),
            child_fd: inherited::FIRST,
        }])
        .map_err(io::Error::other)?;
    let mut child = command
        .spawn()
        .map_err(|error| about(program.display(), error))?;
    drop(command);
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pidfd = pidfd_open(pid.ok_or(io::ErrorKind::InvalidData)?, PidfdFlags::empty())?;
    // SAFETY: an OwnedFd names the same open descriptor for as long as the AsyncFd owns it.
    let pidfd = unsafe { AsyncFd::register(pidfd) }.map_err(io::Error::from)?;
    let process = Process {
        pid: child.id(),
        pidfd,
    };
    let (input, answer) = (child.stdin.take(), child.stdout.take());
    // It reads all of it before it does anything, and the end of the pipe is the end of the request.
    input
        .ok_or(io::ErrorKind::BrokenPipe)?
        .write_all(&serde_json::to_vec(&request(served))?)?;
    Ok(StartingServer {
        process,
        tag: served.tag.clone(),
        answer: answer.ok_or(io::ErrorKind::BrokenPipe)?,
        connection,
    })
}

/// A listening socket with one connection, which its owner will take, and the other end of that. Nobody else can connect:
/// the socket's name is gone.
fn connection(bundle: &Bundle) -> io::Result<(UnixListener, OwnedFd)> {
    let path = bundle.directory().join("shares.sock");
    let listener = socket::bind(&path)?;
    let connected = socket::open(&path);
    std::fs::remove_file(&path)?;
    let connected = connected?.into_std()?;
    connected.set_nonblocking(false)?;
    Ok((listener, connected.into()))
}

async fn read_answer(words: &mut Words) -> io::Result<Answer> {
    let mut line = String::new();
    words.take(ANSWER_LIMIT).read_line(&mut line).await?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&line)?)
}
