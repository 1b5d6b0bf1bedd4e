use std::future::Future;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use container_api::api::{ResizeRequest, SignalRequest, Stdio, WaitRequest};
use tokio::sync::oneshot;

use super::Streams;
use super::ended::ended;
use super::signals::{Event, Signals};
use super::terminal::{self, TerminalMode};
use crate::connection::Containers;
use crate::failure::Failure;
use crate::output;

/// SIGINT and SIGTERM: so many of them end a client whose process does not listen.
const FORCE_AFTER: u32 = 3;
/// How long what is ending may take when a signal comes.
const ENDING: Duration = Duration::from_millis(250);

/// A process of a container.
#[derive(Clone, Debug)]
pub struct Process {
    /// Container.
    pub id: String,
    /// Empty: the first one.
    pub process: String,
    /// Run of the container, as `start` names it; empty: the present one.
    pub run: String,
}

/// A client in the foreground: attached to a process, with the signals taken over.
#[derive(Debug)]
pub struct Foreground {
    signals: Signals,
    streams: Streams,
    /// Came while the process started.
    early: Option<i32>,
}

impl Foreground {
    /// From the moment on where the container is made: a signal then undoes what was begun.
    pub fn new(streams: Streams) -> Result<Self, Failure> {
        let signals = Signals::take().map_err(|error| Failure::Local(error.into()))?;
        Ok(Self {
            signals,
            streams,
            early: None,
        })
    }

    /// Hands the streams to the apiserver, whose descriptors socket is `socket`.
    pub async fn lend(&self, socket: &Path) -> Result<Stdio, Failure> {
        let lent = self.streams.hand_over(socket).await;
        Ok(lent.context("cannot hand the standard streams to the container")?)
    }

    /// Runs `work` to its end unless a signal comes, which is 128 + its number as the exit code. Work that was just
    /// ending is done: its output can be here before its answer, and then the signal is for the process.
    pub async fn interruptible<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::pin!(work);
        let number = tokio::select! {
            done = &mut work => return done,
            number = self.signals.interrupted() => number,
        };
        let done = tokio::time::timeout(ENDING, work)
            .await
            .map_err(|_| Failure::Exit(signalled(number)))??;
        self.early = Some(number);
        Ok(done)
    }

    /// Stays until `process` has ended; gives its exit code. The terminal is raw meanwhile where the streams say
    /// so, and cooked again whatever happens.
    pub async fn wait(mut self, containers: Containers, process: Process) -> Result<u8, Failure> {
        let _raw = if self.streams.is_raw() {
            Some(TerminalMode::raw().map_err(|error| Failure::Local(error.into()))?)
        } else {
            None
        };
        let mut detached = self.streams.pump_keyboard();
        let relay = Relay {
            containers: containers.clone(),
            process: process.clone(),
        };
        if self.streams.terminal() {
            relay.resize();
        }
        if let Some(number) = self.early {
            relay.signal(number);
        }
        let Process { id, process, run } = process;
        let request = WaitRequest {
            id,
            process,
            run,
            rest: false,
        };
        let ended = ended(containers, request);
        tokio::pin!(ended);
        let mut interrupts = 0;
        loop {
            tokio::select! {
                reply = &mut ended => {
                    let reply = reply?;
                    if !reply.reason.is_empty() {
                        output::tell(format_args!("Error: {}", reply.reason));
                    }
                    return Ok(exit_code(reply.exit_code));
                }
                () = typed(&mut detached) => return Ok(0),
                event = self.signals.next() => match event {
                    Event::Window => {
                        if self.streams.terminal() {
                            relay.resize();
                        }
                    }
                    // The keys of a raw terminal are no signals: this one is for this client.
                    Event::Signal(number) if self.streams.is_raw() => {
                        return Err(Failure::Exit(signalled(number)));
                    }
                    Event::Signal(number) => {
                        if matches!(number, 2 | 15) {
                            interrupts += 1;
                        }
                        if interrupts == FORCE_AFTER {
                            output::tell(format_args!("Received {FORCE_AFTER} SIGINT/SIGTERM's, forcefully exiting."));
                            return Err(Failure::Exit(1));
                        }
                        relay.signal(number);
                    }
                },
            }
        }
    }
}

/// Hands signals and sizes on, without waiting for the answers: the process may be ending just now.
#[derive(Debug)]
struct Relay {
    containers: Containers,
    process: Process,
}

impl Relay {
    fn signal(&self, signal: i32) {
        let mut containers = self.containers.clone();
        let Process { id, process, .. } = self.process.clone();
        tokio::spawn(async move {
            containers
                .signal(SignalRequest {
                    id,
                    process,
                    signal,
                })
                .await
        });
    }

    fn resize(&self) {
        let Some(size) = terminal::size() else { return };
        let mut containers = self.containers.clone();
        let Process { id, process, .. } = self.process.clone();
        let (rows, columns) = (u32::from(size.ws_row), u32::from(size.ws_col));
        tokio::spawn(async move {
            containers
                .resize(ResizeRequest {
                    id,
                    process,
                    rows,
                    columns,
                })
                .await
        });
    }
}

/// Ends when the detach keys have been typed; never when nobody types.
async fn typed(detached: &mut Option<oneshot::Receiver<()>>) {
    if let Some(receiver) = detached {
        if receiver.await.is_ok() {
            return;
        }
        // The keyboard has gone; the process may go on.
        *detached = None;
    }
    std::future::pending::<()>().await;
}

/// The exit code of a process as a shell sees it: its lowest eight bits.
fn exit_code(code: i32) -> u8 {
    code.to_le_bytes()[0]
}

/// The exit code of a client that a signal ended.
pub fn signalled(number: i32) -> u8 {
    exit_code(128 + number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_what_a_shell_sees() {
        assert_eq!(exit_code(0), 0);
        assert_eq!(exit_code(137), 137);
        assert_eq!(exit_code(-1), 255);
        assert_eq!(signalled(2), 130);
    }
}
