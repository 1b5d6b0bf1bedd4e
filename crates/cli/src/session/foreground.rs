use std::future::Future;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use container_api::Kind;
use container_api::api::WaitRequest;
use container_api::lifeline::{Failed, Saying};
use container_api::streams::StandardStream;
use container_api::types::{Exit, Stdio};
use tokio::time::Instant;

use super::ClientStdio;
use super::ended::ended;
use super::keyboard::{Keyboard, Over};
use super::lifeline;
use super::relay::Relay;
use super::resizer::Resizer;
use super::signals::{Event, Signals};
use super::terminal::{self, TerminalMode};
use crate::connection::Containers;
use crate::failure::Failure;
use crate::output;

/// SIGINT and SIGTERM: so many of them end a client whose process does not listen.
const FORCE_AFTER: u32 = 3;
/// How long what is ending may take when a signal comes.
const ENDING: Duration = Duration::from_millis(250);
/// How long a process may take to end after its standard output was closed, before it is ended.
const CLOSED_PATIENCE: Duration = Duration::from_secs(3);
/// SIGHUP.
const HANGUP: i32 = 1;
/// Exit code of what SIGKILL ended.
const KILLED: i32 = 137;

/// A process of a container.
#[derive(Clone, Debug)]
pub struct ProcessRef {
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
    streams: ClientStdio,
    /// While the terminal is raw.
    mode: Option<TerminalMode>,
    /// It looks on: the process is not its own.
    onlooker: bool,
    /// Came while the process started.
    early: Option<i32>,
}

impl Foreground {
    /// From the moment on where the container is made: a signal then undoes what was begun.
    pub fn new(streams: ClientStdio) -> Result<Self, Failure> {
        let signals = Signals::take().map_err(|error| Failure::Local(error.into()))?;
        Ok(Self {
            signals,
            streams,
            mode: None,
            onlooker: false,
            early: None,
        })
    }

    /// Attached to a process that another client started: the process goes on if this client ends.
    pub fn onlooker(streams: ClientStdio) -> Result<Self, Failure> {
        Ok(Self {
            onlooker: true,
            ..Self::new(streams)?
        })
    }

    /// Hands the streams to the apiserver, whose descriptors socket is `socket`. From then on bytes may come, so a terminal
    /// that is to be raw is; its keys are still signals to this client.
    pub async fn lend(&mut self, socket: &Path) -> Result<Stdio, Failure> {
        if self.streams.is_raw() {
            let mode = TerminalMode::raw_with_signals();
            self.mode = Some(mode.map_err(|error| Failure::Local(error.into()))?);
        }
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
        let number = loop {
            tokio::select! {
                done = &mut work => return done,
                event = self.signals.next() => match event {
                    Event::Signal(number) => break number,
                    Event::Stop => self.stop(),
                    // Looked at when the process runs.
                    Event::Window => {}
                },
            }
        };
        let done = tokio::time::timeout(ENDING, work)
            .await
            .map_err(|_| Failure::Exit(signalled(number)))??;
        self.early = Some(number);
        Ok(done)
    }

    /// Stays until `process` has ended; gives its exit code. The terminal is raw meanwhile where the streams say
    /// so, and cooked again whatever happens.
    ///
    /// # Errors
    /// Also when one of the streams failed, after the process has ended of that or was ended. An onlooker does not wait
    /// for it.
    pub async fn wait(
        mut self,
        containers: Containers,
        process: ProcessRef,
    ) -> Result<u8, Failure> {
        if self.mode.is_some() {
            TerminalMode::make_raw().map_err(|error| Failure::Local(error.into()))?;
        }
        let mut keyboard = self.streams.pump_keyboard();
        let relay = Relay::new(containers.clone(), process.clone());
        let resizer = self.streams.terminal().then(|| {
            let told = self.streams.size();
            Resizer::new(containers.clone(), process.clone(), told)
        });
        let mut state = State::default();
        match self.early.take() {
            Some(HANGUP) if self.streams.terminal() => return Err(self.hang_up()),
            // The keys of the terminal were still signals.
            Some(number) => relay.signal(number),
            None => {}
        }
        let ProcessRef { id, process, run } = process;
        let further = !process.is_empty();
        let request = WaitRequest {
            id,
            process,
            run,
            rest: false,
        };
        let ended = ended(containers, request);
        let reader_gone = output::reader_gone();
        tokio::pin!(ended, reader_gone);
        loop {
            tokio::select! {
                reply = &mut ended => {
                    let reply = match reply {
                        Err(failure) if further && is_absent(&failure) => Exit {
                            exit_code: KILLED,
                            ..Exit::default()
                        },
                        reply => reply?,
                    };
                    return self.outcome(&reply, state);
                }
                failed = self.streams.failed() => state.failed(failed, self.onlooker)?,
                () = passed(state.patience) => {
                    state.patience = None;
                    relay.end();
                }
                () = &mut reader_gone, if self.onlooker => return Err(Failure::BrokenPipe),
                over = typed(&mut keyboard) => match over {
                    Over::Detached => return Ok(0),
                    Over::Gone => return Err(self.hang_up()),
                    Over::Failed(error) => {
                        let error = error.raw_os_error().and_then(|number| number.try_into().ok());
                        let stream = StandardStream::Stdin;
                        state.failed(Failed { stream, error: error.unwrap_or_default() }, self.onlooker)?;
                    }
                    Over::Ended => {}
                },
                event = self.signals.next() => match event {
                    Event::Window => {
                        if let Some(resizer) = &resizer {
                            resizer.look();
                        }
                    }
                    Event::Stop => {
                        self.stop();
                        if let Some(resizer) = &resizer {
                            resizer.look();
                        }
                    }
                    Event::Signal(number) => self.take_signal(number, &relay, &mut state)?,
                },
            }
        }
    }

    /// The exit code of a process that has ended, unless one of the streams failed.
    fn outcome(&mut self, reply: &Exit, mut state: State) -> Result<u8, Failure> {
        if !reply.reason.is_empty() {
            output::tell(format_args!("Error: {}", reply.reason));
        }
        // The helper says so before it tells of the end.
        while let Some(failed) = self.streams.failure_told() {
            state.failed(failed, self.onlooker)?;
        }
        match state.failure {
            Some(failed) => Err(lifeline::failure(failed)),
            None => Ok(exit_code(reply.exit_code)),
        }
    }

    /// Hands `number` on to the process, or ends this client by it.
    fn take_signal(
        &mut self,
        number: i32,
        relay: &Relay,
        state: &mut State,
    ) -> Result<(), Failure> {
        if number == HANGUP && self.streams.terminal() {
            return Err(self.hang_up());
        }
        // The keys of a raw terminal are no signals: this one is for this client.
        if self.streams.is_raw() {
            return Err(Failure::Exit(signalled(number)));
        }
        if matches!(number, 2 | 15) {
            state.interrupts += 1;
        }
        if state.interrupts == FORCE_AFTER {
            output::tell(format_args!(
                "Received {FORCE_AFTER} SIGINT/SIGTERM's, forcefully exiting."
            ));
            return Err(Failure::Exit(1));
        }
        relay.signal(number);
        Ok(())
    }

    /// The terminal has gone: the process loses its own, too, unless another client started the process.
    fn hang_up(&self) -> Failure {
        if !self.onlooker {
            self.streams.say(Saying::HangUp);
        }
        Failure::Exit(signalled(HANGUP))
    }

    /// Stops this process, as its terminal wants it, and with it the output. Comes back when it is to go on.
    fn stop(&self) {
        self.streams.say(Saying::Hold);
        terminal::stop();
        self.streams.say(Saying::GoOn);
    }
}

/// What has happened to a client so far.
#[derive(Debug, Default)]
struct State {
    interrupts: u32,
    /// The stream that failed; standard output before others.
    failure: Option<Failed>,
    /// When a process that has no standard output any more is ended.
    patience: Option<Instant>,
}

impl State {
    fn failed(&mut self, failed: Failed, onlooker: bool) -> Result<(), Failure> {
        let is_output = failed.stream == StandardStream::Stdout;
        if is_output && onlooker {
            return Err(lifeline::failure(failed));
        }
        if is_output {
            self.patience = Some(Instant::now() + CLOSED_PATIENCE);
        }
        if is_output || self.failure.is_none() {
            self.failure = Some(failed);
        }
        Ok(())
    }
}

/// Whether a process that ran is known no more: its container has gone, and took it along.
fn is_absent(failure: &Failure) -> bool {
    matches!(failure.kind(), Some(Kind::NotFound | Kind::InvalidState))
}

/// Ends at `moment`; never where there is none.
async fn passed(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Ends at the end of the keyboard input; never without a keyboard.
async fn typed(keyboard: &mut Option<Keyboard>) -> Over {
    match keyboard {
        Some(keyboard) => keyboard.over().await,
        None => std::future::pending().await,
    }
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

    #[test]
    fn standard_output_is_what_a_client_is_for() {
        let failed = |stream| Failed { stream, error: 28 };
        let (output, errors) = (StandardStream::Stdout, StandardStream::Stderr);
        let mut state = State::default();
        state.failed(failed(errors), false).unwrap();
        assert!(state.patience.is_none());
        state.failed(failed(output), false).unwrap();
        state.failed(failed(errors), false).unwrap();
        assert!(state.patience.is_some());
        assert_eq!(state.failure, Some(failed(output)));
        State::default().failed(failed(errors), true).unwrap();
        let gone = State::default().failed(failed(output), true);
        assert_eq!(gone.unwrap_err().code(), 1);
    }
}
