//! A process in the guest, as the helper follows it.

mod ended;
mod streams;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use container_api::guest::{SignalRequest, WaitReply, WaitRequest};
use container_api::guest_channel::Guest;
use container_api::streams::StandardStream;
use container_api::{Error, Kind};
use container_resource::log::Stream;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::stdio::{Fanout, Input, Lifeline, LogFile, Sink, Stdio};
use streams::{feed, pump};

pub use ended::Ended;

/// A process that has been started in the guest.
#[derive(Debug)]
pub struct Process {
    ended: watch::Receiver<Option<Ended>>,
    /// Present when it has a standard input that clients can feed.
    input: Option<Input>,
    stdout: Arc<Fanout>,
    stderr: Arc<Fanout>,
    first_byte: Arc<OnceLock<jiff::Timestamp>>,
    exit: Arc<Exit>,
    /// The client that started it.
    starter: OnceLock<Lifeline>,
}

/// An exit that the guest has told of, on its way to [`Ended`].
#[derive(Debug, Default)]
struct Exit {
    told: AtomicBool,
    /// Rung when no client is waited for any more.
    let_go: Notify,
    /// Rung when the guest is not waited for any more, and why.
    given_up: Notify,
    reason: OnceLock<String>,
}

impl Process {
    /// Connects a process that the guest has just started to `stdio` and `log`, and waits for it. With `input` it has a
    /// standard input, whether a client feeds it or not.
    ///
    /// # Errors
    /// When a thread for a descriptor cannot be started.
    pub async fn follow(
        guest: &Guest,
        id: &str,
        terminal: bool,
        input: bool,
        stdio: Stdio,
        log: Option<LogFile>,
    ) -> io::Result<Arc<Self>> {
        let log = log.map(|log| Arc::new(Mutex::new(log)));
        let stdout = Arc::new(Fanout::new(Stream::Stdout, log.clone()));
        let stderr = Arc::new(Fanout::new(Stream::Stderr, log));
        let (input, given) = input.then(Input::new).unzip();
        let (sender, ended) = watch::channel(None);
        let first_byte = Arc::default();
        let exit = Arc::<Exit>::default();
        let process = Arc::new(Self {
            ended,
            input,
            stdout,
            stderr,
            first_byte,
            exit: exit.clone(),
            starter: OnceLock::new(),
        });
        process.connect(stdio, true).await?;

        let feed = given.map(|given| tokio::spawn(feed(guest.clone(), id.to_owned(), given)));
        let pump = |stream, fanout: &Arc<Fanout>| {
            let (fanout, first_byte) = (fanout.clone(), process.first_byte.clone());
            tokio::spawn(pump(
                guest.clone(),
                id.to_owned(),
                stream,
                fanout,
                first_byte,
            ))
        };
        let output = pump(StandardStream::Stdout, &process.stdout);
        // A terminal has one stream for both.
        let error = (!terminal).then(|| pump(StandardStream::Stderr, &process.stderr));
        let (guest, id) = (guest.clone(), id.to_owned());
        tokio::spawn(async move {
            let reply = tokio::select! {
                reply = wait(guest.clone(), id.clone()) => Some(reply),
                () = exit.given_up.notified() => None,
            };
            let at = jiff::Timestamp::now();
            exit.told.store(true, Ordering::Relaxed);
            if let Some(feed) = feed {
                feed.abort();
            }
            let delivered = async {
                for pump in [Some(output), error].into_iter().flatten() {
                    if reply.is_none() {
                        pump.abort();
                    }
                    // A pump ends with its stream; a panic in it is not the process's.
                    let _ = pump.await;
                }
            };
            tokio::select! {
                () = delivered => {}
                () = exit.let_go.notified() => {}
            }
            let ended = match reply {
                None => {
                    tokio::spawn(kill(guest, id));
                    Ended::lost(exit.reason.get().cloned().unwrap_or_default())
                }
                Some(Ok(WaitReply {
                    exit_code,
                    oom_killed,
                })) => Ended {
                    exit_code: exit_code & 0xff,
                    at,
                    oom_killed,
                    reason: None,
                },
                Some(Err(status)) => {
                    let error = Error::of_guest(status);
                    Ended::lost(format!("the guest was lost: {}", error.message()))
                }
            };
            // Nobody may wait for it any more.
            let _ = sender.send(Some(ended));
        });
        Ok(process)
    }

    /// Notes a line of ours in the log, as if the process had written it to standard error; its clients do not see it.
    pub fn note(&self, line: &[u8]) {
        self.stderr.note(line);
    }

    /// Connects a client. Where it is the `first` one, which started the process, its streams are the process's: the end
    /// of its input, an output that nobody reads any more, a terminal that has gone.
    async fn connect(self: &Arc<Self>, stdio: Stdio, first: bool) -> io::Result<()> {
        let client = Lifeline::watch(stdio.lifeline)?;
        if first {
            // It is connected as the first one once.
            let _ = self.starter.set(client.clone());
        }
        if let (Some(input), Some(descriptor)) = (&self.input, stdio.stdin) {
            input.give(descriptor, client.clone(), first)?;
        }
        let outputs = [
            (StandardStream::Stdout, &self.stdout, stdio.stdout),
            (StandardStream::Stderr, &self.stderr, stdio.stderr),
        ];
        for (stream, fanout, descriptor) in outputs {
            let Some(descriptor) = descriptor else {
                continue;
            };
            let lost = if first {
                fanout.lost().clone()
            } else {
                CancellationToken::new()
            };
            let sink = Sink::new(stream, descriptor, client.clone(), lost)?;
            fanout.attach(sink).await;
        }
        let process = Arc::downgrade(self);
        let mut ended = self.ended.clone();
        tokio::spawn(async move {
            let over = async {
                // An error is an end, too.
                drop(ended.wait_for(Option::is_some).await);
            };
            tokio::pin!(over);
            let mut hung_up = !first;
            loop {
                tokio::select! {
                    // What a client says before it goes counts.
                    biased;
                    () = client.hung_up(), if !hung_up => {
                        hung_up = true;
                        if let Some(process) = process.upgrade() {
                            process.stdout.lost().cancel();
                        }
                    }
                    () = client.cut() => break,
                    () = &mut over => return,
                }
            }
            // A process that is silent would hold the descriptors of a client that has gone.
            if let Some(process) = process.upgrade() {
                process.stdout.sweep().await;
                process.stderr.sweep().await;
            }
        });
        Ok(())
    }

    /// How the process ended, once it has and every client has its output or was [let go](Self::let_clients_go).
    pub async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        let lost = || Ended::lost("the helper is shutting down".into());
        match ended.wait_for(Option::is_some).await {
            Ok(value) => value.clone().unwrap_or_else(lost),
            Err(_) => lost(),
        }
    }

    /// When the guest first gave output of it.
    pub fn first_byte(&self) -> Option<jiff::Timestamp> {
        self.first_byte.get().copied()
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// No longer waits until clients have taken what a process that has exited wrote. Whether it has exited.
    pub fn let_clients_go(&self) -> bool {
        let told = self.exit.told.load(Ordering::Relaxed);
        if told {
            self.exit.let_go.notify_one();
        }
        told
    }

    /// No longer waits for its guest, and tells `reason` instead. The guest ends it when it hears of that.
    pub fn give_up(&self, reason: String) {
        // The first one counts.
        let _ = self.exit.reason.set(reason);
        self.exit.given_up.notify_one();
    }

    /// Waits until the client that started it has gone. Without one it never does.
    pub async fn deserted(&self) {
        match self.starter.get() {
            Some(client) => client.cut().await,
            None => std::future::pending().await,
        }
    }

    /// Whether [`Self::give_up`] was called.
    pub fn is_given_up(&self) -> bool {
        self.exit.reason.get().is_some()
    }

    /// Connects a further client.
    ///
    /// # Errors
    /// When it has ended, or no thread can be started.
    pub async fn attach(self: &Arc<Self>, stdio: Stdio) -> Result<(), Error> {
        if self.has_ended() {
            return Err(Error::new(Kind::InvalidState, "the process has ended"));
        }
        self.connect(stdio, false)
            .await
            .map_err(|error| Error::caused(Kind::Internal, error).context("attach"))
    }
}

/// Waits for a guest that stands still, however long that takes.
async fn kill(guest: Guest, process: String) {
    let request = SignalRequest {
        process,
        signal: libc::SIGKILL,
        all: false,
    };
    // It may have ended by itself, or the guest with it.
    let _ = guest.calls().signal(request).await;
}

async fn wait(guest: Guest, process: String) -> Result<WaitReply, Status> {
    let reply = guest.calls().wait(WaitRequest { process }).await?;
    Ok(reply.into_inner())
}
