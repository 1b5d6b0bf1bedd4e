//! The process that serves the host's directories and files to the machine.
//!
//! It is started before the VMM, while this process may still start others. It ends when the VMM closes its socket, and when this
//! process ends; its own end is the machine's.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use container_api::error::about;
use container_api::{Error, Kind, inherited, roots, socket};
use container_engine::Share;
use container_resource::bundle::Bundle;
use container_resource::container::{ContainerConfiguration, MountKind};
use container_resource::share::{Answer, LIMIT, Request, Source, TAG};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;

/// What serves them.
const PROGRAM: &str = "container-share-virtiofs";

/// How long it may take to open them. A share of a network file system may be slow.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Most bytes of its answer.
const ANSWER_LIMIT: u64 = 64 << 10;

/// A running process that serves shares; killed and reaped when dropped.
#[derive(Debug)]
pub struct Shares {
    process: AsyncFd<OwnedFd>,
}

/// One that has not answered yet.
#[derive(Debug)]
pub struct Starting {
    shares: Shares,
    answer: ChildStdout,
    connection: OwnedFd,
}

impl Shares {
    /// Starts the process, if the container has shares.
    pub fn start(
        bundle: &Bundle,
        configuration: &ContainerConfiguration,
    ) -> Result<Option<Starting>, Error> {
        let request = request(configuration);
        if request.shares.is_empty() {
            return Ok(None);
        }
        if request.shares.len() > LIMIT {
            let text = format!(
                "{} bind mounts: a container has at most {LIMIT}",
                request.shares.len()
            );
            return Err(Error::new(Kind::InvalidArgument, text));
        }
        spawn(bundle, &request).map(Some).map_err(|error| {
            Error::chain(Kind::Internal, &error).context(format_args!("start {PROGRAM}"))
        })
    }

    /// Waits for the end of the process of `shares`, which is the end of the machine's files. May be cancelled at any time.
    pub async fn lost(shares: Option<&Self>) -> Error {
        let Some(Self { process }) = shares else {
            return std::future::pending().await;
        };
        // Becomes readable when the process ends, and stays so.
        let seen = process.readable().await;
        let text = match seen {
            Ok(_) => "the process that serves the container's bind mounts ended".to_owned(),
            Err(error) => {
                format!(
                    "the process that serves the container's bind mounts cannot be watched: {error}"
                )
            }
        };
        Error::new(Kind::Internal, text)
    }
}

impl Drop for Shares {
    fn drop(&mut self) {
        // Neither fails for a child that has not been reaped.
        let _ = pidfd_send_signal(self.process.get_ref(), Signal::KILL);
        let _ = rustix::io::retry_on_intr(|| {
            let process = WaitId::PidFd(self.process.get_ref().as_fd());
            waitid(process, WaitIdOptions::EXITED)
        });
    }
}

impl Starting {
    /// Waits until it serves: the process, and the device of the machine.
    pub async fn ready(self) -> Result<(Shares, Share), Error> {
        let answer = tokio::time::timeout(READY_LIMIT, read_answer(self.answer))
            .await
            .map_err(|_| Error::new(Kind::Timeout, "the container's bind mounts do not answer"))?
            .map_err(|error| {
                Error::chain(Kind::Internal, &error)
                    .context(format_args!("{PROGRAM} did not start"))
            })?;
        if let Answer::Failed { reason } = answer {
            return Err(Error::new(Kind::InvalidArgument, reason));
        }
        let share = Share {
            tag: TAG.to_owned(),
            server: Arc::new(self.connection),
        };
        Ok((self.shares, share))
    }
}

/// What the container has of the host, in the order of its mounts.
fn request(configuration: &ContainerConfiguration) -> Request {
    let shares = configuration
        .mounts
        .iter()
        .filter(|mount| matches!(mount.kind, MountKind::Virtiofs {}))
        .map(|mount| Source {
            path: (&mount.source).into(),
            read_only: mount.is_read_only(),
        });
    Request {
        shares: shares.collect(),
    }
}

fn spawn(bundle: &Bundle, request: &Request) -> io::Result<Starting> {
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
    let process = pidfd_open(pid.ok_or(io::ErrorKind::InvalidData)?, PidfdFlags::empty())?;
    // SAFETY: an OwnedFd names the same open descriptor for as long as the AsyncFd owns it.
    let process = unsafe { AsyncFd::register(process) }.map_err(io::Error::from)?;
    let shares = Shares { process };
    let (input, answer) = (child.stdin.take(), child.stdout.take());
    // It reads all of it before it does anything, and the end of the pipe is the end of the request.
    input
        .ok_or(io::ErrorKind::BrokenPipe)?
        .write_all(&serde_json::to_vec(request)?)?;
    Ok(Starting {
        shares,
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

async fn read_answer(output: ChildStdout) -> io::Result<Answer> {
    let output = pipe::Receiver::from_owned_fd(output.into())?;
    let mut line = String::new();
    BufReader::new(output.take(ANSWER_LIMIT))
        .read_line(&mut line)
        .await?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&line)?)
}
