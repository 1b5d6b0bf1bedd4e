//! A thin client of the QEMU machine protocol: JSON objects, one per line, over a stream
//! (QEMU documentation, "QEMU Machine Protocol Specification").

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{broadcast, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::vmm::{ControlError, Count, Refusal};

/// Longest line accepted, in bytes. The answers to the commands used here are far shorter.
const LINE_LIMIT: u64 = 256 << 10;

/// Longest name of an event that is passed on, in bytes. QEMU's longest have some 30 (`qapi/*.json`).
const EVENT_NAME: usize = 64;

/// Most characters that are kept of what the VMM says of an error.
const DESCRIPTION: usize = 1024;

/// Events kept for a subscriber that lags.
const EVENT_BACKLOG: usize = 64;

/// A connection on which commands can be given.
#[derive(Debug)]
pub(crate) struct Qmp {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    shared: Arc<Shared>,
    reader: JoinHandle<()>,
}

/// One command of several.
#[derive(Debug)]
pub(crate) struct Command<'a> {
    pub(crate) name: &'static str,
    pub(crate) arguments: Value,
    /// Travels along.
    pub(crate) descriptor: Option<BorrowedFd<'a>>,
}

type Answer = Result<Value, String>;

fn accepted(command: &'static str, answer: Answer) -> Result<Value, ControlError> {
    answer.map_err(|description| ControlError::Refused {
        command,
        description,
    })
}

/// What the reading task and the commands share; gone when the connection has ended.
#[derive(Debug)]
struct Shared(Mutex<Option<State>>);

#[derive(Debug)]
struct State {
    /// Commands that await their answers, oldest first; answers come in order.
    pending: VecDeque<oneshot::Sender<Answer>>,
    /// Names of events, for whoever listens.
    events: broadcast::Sender<String>,
    /// How many times the machine has stopped as the host did not take what it wrote.
    stalls: watch::Sender<Count>,
    /// Why it did not, just now: the machine is about to stop.
    refusal: Option<Refusal>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Option<State>> {
        // The state is consistent between any two statements, so a poisoned lock is harmless.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Qmp {
    /// Takes the connection and leaves negotiation mode: succeeds as soon as the VMM's main loop
    /// runs.
    pub(crate) async fn negotiate(
        stream: UnixStream,
        limit: Duration,
    ) -> Result<Self, ControlError> {
        let (reader, writer) = stream.into_split();
        let (events, _) = broadcast::channel(EVENT_BACKLOG);
        let state = State {
            pending: VecDeque::new(),
            events,
            stalls: watch::Sender::default(),
            refusal: None,
        };
        let shared = Arc::new(Shared(Mutex::new(Some(state))));
        let reader = tokio::spawn(read(BufReader::new(reader), Arc::clone(&shared)));
        let qmp = Self {
            writer: tokio::sync::Mutex::new(writer),
            shared,
            reader,
        };
        qmp.execute("qmp_capabilities", Value::Null, limit).await?;
        Ok(qmp)
    }

    /// Executes one command and returns its `return` value.
    pub(crate) async fn execute(
        &self,
        command: &'static str,
        arguments: Value,
        limit: Duration,
    ) -> Result<Value, ControlError> {
        self.execute_with(command, arguments, None, limit).await
    }

    /// As [`Qmp::execute`], with a descriptor that travels along.
    pub(crate) async fn execute_with(
        &self,
        command: &'static str,
        arguments: Value,
        descriptor: Option<BorrowedFd<'_>>,
        limit: Duration,
    ) -> Result<Value, ControlError> {
        let answer = tokio::time::timeout(limit, async {
            let answer = self.send(command, arguments, descriptor).await?;
            answer.await.map_err(|_| ControlError::Closed)
        });
        match answer.await {
            Err(_) => Err(ControlError::Timeout { command, limit }),
            Ok(Err(error)) => Err(error),
            Ok(Ok(answer)) => accepted(command, answer),
        }
    }

    /// Executes commands one after the other, without waiting for one answer before the next command. All are
    /// executed, whichever fails; the first failure is told.
    ///
    /// A VMM reads the next command, and the descriptor that travels with it, when it is done with the last
    /// (`handle_qmp_command` of monitor/qmp.c).
    pub(crate) async fn execute_all(
        &self,
        commands: Vec<Command<'_>>,
        limit: Duration,
    ) -> Result<(), ControlError> {
        self.send_all(commands, limit).await?.answered().await
    }

    /// As [`Qmp::execute_all`], without waiting for any answer: others can be sent before these are answered.
    pub(crate) async fn send_all(
        &self,
        commands: Vec<Command<'_>>,
        limit: Duration,
    ) -> Result<Sent, ControlError> {
        let until = Instant::now() + limit;
        let mut answers = Vec::with_capacity(commands.len());
        for Command {
            name,
            arguments,
            descriptor,
        } in commands
        {
            let answer = tokio::time::timeout_at(until, self.send(name, arguments, descriptor));
            let answer = answer.await.map_err(|_| ControlError::Timeout {
                command: name,
                limit,
            })?;
            answers.push((name, answer?));
        }
        Ok(Sent {
            answers,
            until,
            limit,
        })
    }

    async fn send(
        &self,
        command: &str,
        arguments: Value,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<oneshot::Receiver<Answer>, ControlError> {
        let mut request = json!({ "execute": command });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let mut line = request.to_string();
        line.push('\n');
        let (sender, receiver) = oneshot::channel();
        let mut writer = self.writer.lock().await;
        self.shared
            .state()
            .as_mut()
            .ok_or(ControlError::Closed)?
            .pending
            .push_back(sender);
        let sent = match descriptor {
            None => 0,
            Some(descriptor) => send_with(writer.as_ref(), line.as_bytes(), descriptor)
                .await
                .map_err(ControlError::Write)?,
        };
        writer
            .write_all(&line.as_bytes()[sent..])
            .await
            .map_err(ControlError::Write)?;
        Ok(receiver)
    }

    /// How many times the machine has stopped as the host did not take what it wrote, those before included; ends with the connection.
    pub(crate) fn stalls(&self) -> watch::Receiver<Count> {
        let mut stalls = match self.shared.state().as_ref() {
            Some(state) => state.stalls.subscribe(),
            None => watch::channel(Count::default()).1,
        };
        if stalls.borrow().stalls > 0 {
            stalls.mark_changed();
        }
        stalls
    }

    /// Names of the events from now on; ends with the connection.
    pub(crate) fn subscribe(&self) -> Result<broadcast::Receiver<String>, ControlError> {
        let state = self.shared.state();
        Ok(state
            .as_ref()
            .ok_or(ControlError::Closed)?
            .events
            .subscribe())
    }
}

/// Commands that a VMM executes, one after the other.
#[derive(Debug)]
pub(crate) struct Sent {
    answers: Vec<(&'static str, oneshot::Receiver<Answer>)>,
    until: Instant,
    limit: Duration,
}

impl Sent {
    /// Waits for all answers; gives the first failure.
    pub(crate) async fn answered(self) -> Result<(), ControlError> {
        let mut result = Ok(());
        for (command, answer) in self.answers {
            let limit = self.limit;
            let answer = tokio::time::timeout_at(self.until, answer).await;
            let answer = answer.map_err(|_| ControlError::Timeout { command, limit })?;
            let answer = answer.map_err(|_| ControlError::Closed)?;
            result = result.and(accepted(command, answer).map(drop));
        }
        result
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Sends the start of `bytes` together with a descriptor; returns how many bytes went.
async fn send_with(
    stream: &UnixStream,
    bytes: &[u8],
    descriptor: BorrowedFd<'_>,
) -> io::Result<usize> {
    stream
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let descriptors = [descriptor];
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
            let bytes = [io::IoSlice::new(bytes)];
            Ok(sendmsg(stream, &bytes, &mut control, SendFlags::NOSIGNAL)?)
        })
        .await
}

async fn read(mut stream: BufReader<OwnedReadHalf>, shared: Arc<Shared>) {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut stream)
            .take(LINE_LIMIT)
            .read_until(b'\n', &mut line)
            .await;
        if !matches!(read, Ok(1..)) || line.last() != Some(&b'\n') {
            break;
        }
        match serde_json::from_slice(&line) {
            Ok(message) => dispatch(message, &shared),
            Err(_) => break,
        }
    }
    // Dropping the senders tells whoever still waits.
    shared.state().take();
}

/// Why a write failed. QEMU has a word for `ENOSPC` alone; the others are seen from what the C library says of them, in no language but
/// English, as the VMM has no environment (`block/block-backend.c`).
fn refusal(event: &Value) -> Refusal {
    if event["nospace"] == true {
        return Refusal::Full;
    }
    match event["reason"].as_str() {
        Some("No space left on device") => Refusal::Full,
        Some("Disk quota exceeded") => Refusal::Quota,
        Some("File too large") => Refusal::FileSize,
        Some("Read-only file system") => Refusal::ReadOnly,
        _ => Refusal::Failed,
    }
}

fn dispatch(mut message: Value, shared: &Shared) {
    let mut state = shared.state();
    let Some(state) = state.as_mut() else { return };
    if let Some(name) = message["event"].as_str() {
        match name {
            "BLOCK_IO_ERROR" if message["data"]["action"] == "stop" => {
                state.refusal = Some(refusal(&message["data"]));
            }
            // A command to go on that came before this would find the machine running, and change nothing.
            "STOP" => {
                if let Some(refusal) = state.refusal.take() {
                    state.stalls.send_modify(|count| count.add(refusal));
                }
            }
            // What failed while the machine stopped is done again.
            "RESUME" => state.refusal = None,
            _ => {}
        }
        if name.len() <= EVENT_NAME {
            // Fails when nobody listens.
            let _ = state.events.send(name.to_owned());
        }
        return;
    }
    let answer = if let Some(value) = message.get_mut("return") {
        Ok(value.take())
    } else if let Some(error) = message.get("error") {
        Err(one_line(error["desc"].as_str().unwrap_or("unknown error")))
    } else {
        // The greeting.
        return;
    };
    if let Some(waiting) = state.pending.pop_front() {
        // Fails when the caller has given up.
        let _ = waiting.send(answer);
    }
}

/// What is shown of a text of the VMM: it may be a guest's by now.
fn one_line(text: &str) -> String {
    let shown = text.chars().filter(|character| !character.is_control());
    shown.take(DESCRIPTION).collect()
}

#[cfg(test)]
mod tests;
