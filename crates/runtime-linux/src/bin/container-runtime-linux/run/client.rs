//! The helper of the container, and its one client.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use command_fds::{CommandFdExt, FdMapping};
use container_api::lifeline::Failed;
use container_api::request::Channel;
use container_api::runtime::runtime_client::RuntimeClient;
use container_api::runtime::{
    ResizeRequest, SignalRequest, StartRequest, StopRequest, WaitRequest,
};
use container_api::{Error, descriptors, inherited, socket, types};
use tokio::process::Child;
use tokio::sync::mpsc;
use tonic::Status;

use super::place::Place;
use super::signals::{self, Event};
use super::terminal::{self, RawTerminal};

/// How long the helper may take to be gone after its container.
const GONE_LIMIT: Duration = Duration::from_secs(20);

/// Runs the container of `place` to its end; gives its exit code.
pub async fn run(place: &Place, terminal: bool, debug: bool) -> anyhow::Result<u8> {
    let mut events = signals::take().context("take the signals over")?;
    let mut helper = spawn(place, debug).context("start the helper")?;
    let channel = socket::connect(&place.bundle().socket()).context("call the helper")?;
    let client = RuntimeClient::new(channel);
    let ended = attend(place, client, terminal, &mut events).await;
    if tokio::time::timeout(GONE_LIMIT, helper.wait())
        .await
        .is_err()
    {
        helper.kill().await.context("end the helper")?;
    }
    ended
}

async fn attend(
    place: &Place,
    mut client: RuntimeClient<Channel>,
    terminal: bool,
    events: &mut mpsc::Receiver<Event>,
) -> anyhow::Result<u8> {
    let raw = if terminal {
        RawTerminal::on_stdin().context("set the terminal up")?
    } else {
        None
    };
    let (lifeline, theirs) = UnixStream::pair().context("make a lifeline")?;
    let stdio = lend(place, terminal, theirs.into()).await?;
    if let Some(signal) = start(client.clone(), stdio, events).await? {
        return Ok(u8::try_from(128 + signal).unwrap_or(u8::MAX));
    }
    let mut calls = client.clone();
    let wait = client.wait(WaitRequest {
        process: String::new(),
    });
    tokio::pin!(wait);
    let exit = loop {
        tokio::select! {
            exit = &mut wait => break exit.map_err(failure)?.into_inner(),
            Some(event) = events.recv() => tell(&mut calls, event).await,
        }
    };
    drop(raw);
    if !exit.reason.is_empty() {
        anyhow::bail!("{}", exit.reason);
    }
    if let Some(Failed { stream, error }) = failed(&lifeline)? {
        let error = io::Error::from_raw_os_error(error.into());
        anyhow::bail!(
            Error::caused(container_api::Kind::Internal, error)
                .context(format!("{stream:?}").to_lowercase())
        );
    }
    Ok(u8::try_from(exit.exit_code).unwrap_or(u8::MAX))
}

/// Starts the process. Gives the signal that came before there was one: the container is stopped then.
async fn start(
    mut client: RuntimeClient<Channel>,
    stdio: types::Stdio,
    events: &mut mpsc::Receiver<Event>,
) -> anyhow::Result<Option<i32>> {
    let mut stopping = client.clone();
    let started = client.start(StartRequest { stdio: Some(stdio) });
    tokio::pin!(started);
    let signal = loop {
        tokio::select! {
            started = &mut started => return started.map(|_| None).map_err(failure),
            Some(event) = events.recv() => if let Event::Signal(number) = event {
                break number;
            },
        }
    };
    let now = StopRequest {
        signal,
        timeout_ms: 0,
        keep: false,
    };
    // What becomes of the start meanwhile is nobody's concern any more.
    let (_, stopped) = tokio::join!(started, stopping.stop(now));
    stopped.map_err(failure)?;
    Ok(Some(signal))
}

/// Starts this program once more, as the helper of `place`.
fn spawn(place: &Place, debug: bool) -> anyhow::Result<Child> {
    let bundle = place.bundle();
    let listeners: [OwnedFd; 2] = [
        socket::bind(&bundle.socket())?.into(),
        socket::bind(&bundle.descriptors())?.into(),
    ];
    let log = container_files::log(&bundle.runtime_log())?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("start")
        .arg("--bundle")
        .arg(bundle.directory())
        .arg("--id")
        .arg(place.id())
        .env(inherited::VARIABLE, listeners.len().to_string())
        .env_remove(inherited::FURTHER_VARIABLE)
        .current_dir("/")
        .stdin(Stdio::null());
    if debug {
        command.arg("--debug");
    } else {
        command.stdout(log.try_clone()?).stderr(log);
    }
    // A key of the terminal is for this process, which passes it on.
    command.process_group(0);
    let mappings = listeners.into_iter().zip(inherited::FIRST..);
    let mappings = mappings.map(|(parent_fd, child_fd)| FdMapping {
        parent_fd,
        child_fd,
    });
    command
        .fd_mappings(mappings.collect())
        .map_err(io::Error::other)?;
    Ok(tokio::process::Command::from(command).spawn()?)
}

/// Hands this process's standard streams over. A terminal has one stream for both outputs.
async fn lend(place: &Place, terminal: bool, lifeline: OwnedFd) -> anyhow::Result<types::Stdio> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let mut lent = vec![stdin.as_fd(), stdout.as_fd()];
    if !terminal {
        lent.push(stderr.as_fd());
    }
    lent.push(lifeline.as_fd());
    let token = descriptors::send(&place.bundle().descriptors(), &lent)
        .await
        .context("hand the standard streams over")?;
    let (rows, columns) = terminal::size();
    Ok(types::Stdio {
        token,
        stdin: true,
        stdout: true,
        stderr: !terminal,
        lifeline: true,
        rows,
        columns,
    })
}

async fn tell(calls: &mut RuntimeClient<Channel>, event: Event) {
    let process = String::new();
    let told = match event {
        Event::Signal(signal) => {
            let request = SignalRequest { process, signal };
            calls.signal(request).await.map(drop)
        }
        Event::Window => {
            let (rows, columns) = terminal::size();
            let request = ResizeRequest {
                process,
                rows,
                columns,
            };
            calls.resize(request).await.map(drop)
        }
    };
    // It may be ending, or have no terminal.
    if let Err(status) = told {
        tracing::debug!("{}", Error::from(status));
    }
}

/// Which of the streams failed, if one did.
fn failed(lifeline: &UnixStream) -> io::Result<Option<Failed>> {
    let mut message = [0; Failed::LENGTH];
    lifeline.set_nonblocking(true)?;
    let read = io::Read::read(&mut &*lifeline, &mut message);
    Ok(match read {
        Ok(Failed::LENGTH) => Failed::decode(message),
        _ => None,
    })
}

fn failure(status: Status) -> anyhow::Error {
    Error::from(status).into()
}
