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
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinHandle;

/// Longest line accepted, in bytes. The answers to the commands used here are far shorter.
const LINE_LIMIT: u64 = 256 << 10;

/// Longest name of an event that is passed on, in bytes. QEMU's longest have some 30 (`qapi/*.json`).
const EVENT_NAME: usize = 64;

/// Most characters that are kept of what the VMM says of an error.
const DESCRIPTION: usize = 1024;

/// Events kept for a subscriber that lags.
const EVENT_BACKLOG: usize = 64;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The VMM ended, or closed the connection.
    #[error("the VMM closed its control connection")]
    Closed,
    /// The command could not be sent.
    #[error("cannot write to the VMM's control connection")]
    Write(#[source] io::Error),
    /// No answer came in time.
    #[error("the VMM did not answer `{command}` within {} s", limit.as_secs())]
    Timeout {
        /// The command sent.
        command: &'static str,
        /// How long the answer was awaited.
        limit: Duration,
    },
    /// The VMM refused the command.
    #[error("the VMM refused `{command}`: {description}")]
    Refused {
        /// The command sent.
        command: &'static str,
        /// The VMM's explanation.
        description: String,
    },
}

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

fn accepted(command: &'static str, answer: Answer) -> Result<Value, QmpError> {
    answer.map_err(|description| QmpError::Refused {
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
    pub(crate) async fn negotiate(stream: UnixStream, limit: Duration) -> Result<Self, QmpError> {
        let (reader, writer) = stream.into_split();
        let (events, _) = broadcast::channel(EVENT_BACKLOG);
        let state = State {
            pending: VecDeque::new(),
            events,
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
    ) -> Result<Value, QmpError> {
        self.execute_with(command, arguments, None, limit).await
    }

    /// As [`Qmp::execute`], with a descriptor that travels along.
    pub(crate) async fn execute_with(
        &self,
        command: &'static str,
        arguments: Value,
        descriptor: Option<BorrowedFd<'_>>,
        limit: Duration,
    ) -> Result<Value, QmpError> {
        let answer = tokio::time::timeout(limit, async {
            let answer = self.send(command, arguments, descriptor).await?;
            answer.await.map_err(|_| QmpError::Closed)
        });
        match answer.await {
            Err(_) => Err(QmpError::Timeout { command, limit }),
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
    ) -> Result<(), QmpError> {
        let mut last = "";
        let answers = tokio::time::timeout(limit, async {
            let mut sent = Vec::with_capacity(commands.len());
            for Command {
                name,
                arguments,
                descriptor,
            } in commands
            {
                last = name;
                sent.push((name, self.send(name, arguments, descriptor).await?));
            }
            let mut result = Ok(());
            for (name, answer) in sent {
                last = name;
                let answer = answer.await.map_err(|_| QmpError::Closed)?;
                result = result.and(accepted(name, answer).map(drop));
            }
            result
        });
        answers.await.unwrap_or(Err(QmpError::Timeout {
            command: last,
            limit,
        }))
    }

    async fn send(
        &self,
        command: &str,
        arguments: Value,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<oneshot::Receiver<Answer>, QmpError> {
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
            .ok_or(QmpError::Closed)?
            .pending
            .push_back(sender);
        let sent = match descriptor {
            None => 0,
            Some(descriptor) => send_with(writer.as_ref(), line.as_bytes(), descriptor)
                .await
                .map_err(QmpError::Write)?,
        };
        writer
            .write_all(&line.as_bytes()[sent..])
            .await
            .map_err(QmpError::Write)?;
        Ok(receiver)
    }

    /// Names of the events from now on; ends with the connection.
    pub(crate) fn subscribe(&self) -> Result<broadcast::Receiver<String>, QmpError> {
        let state = self.shared.state();
        Ok(state.as_ref().ok_or(QmpError::Closed)?.events.subscribe())
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

fn dispatch(mut message: Value, shared: &Shared) {
    let mut state = shared.state();
    let Some(state) = state.as_mut() else { return };
    if let Some(name) = message["event"].as_str() {
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
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// A VMM that answers each line it gets with the next of `answers`, then closes.
    fn vmm(answers: &'static [&'static str]) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            let (reader, mut writer) = theirs.into_split();
            let mut lines = BufReader::new(reader).lines();
            writer
                .write_all(b"{\"QMP\": {\"version\": {}}}\r\n")
                .await
                .unwrap();
            for answer in answers {
                lines.next_line().await.unwrap();
                writer.write_all(answer.as_bytes()).await.unwrap();
                writer.write_all(b"\r\n").await.unwrap();
            }
        });
        ours
    }

    #[tokio::test]
    async fn answers_are_told_from_errors_and_events() {
        let stream = vmm(&[
            r#"{"return": {}}"#,
            "{\"event\": \"STOP\", \"data\": {\"a\": 1}}\n{\"return\": {\"running\": false}}",
            r#"{"error": {"class": "GenericError", "desc": "no such thing"}}"#,
        ]);
        let qmp = Qmp::negotiate(stream, LIMIT).await.unwrap();
        let mut events = qmp.subscribe().unwrap();
        let value = qmp
            .execute("query-status", Value::Null, LIMIT)
            .await
            .unwrap();
        assert_eq!(value, json!({ "running": false }));
        assert_eq!(events.recv().await.unwrap(), "STOP");
        let error = qmp
            .execute("eject", json!({ "id": "x" }), LIMIT)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "the VMM refused `eject`: no such thing");
        let error = qmp.execute("quit", Value::Null, LIMIT).await.unwrap_err();
        assert!(
            matches!(error, QmpError::Closed | QmpError::Write(_)),
            "{error}"
        );
    }

    #[tokio::test]
    async fn silence_ends_in_a_timeout() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let error = Qmp::negotiate(ours, Duration::from_millis(10))
            .await
            .unwrap_err();
        assert!(matches!(
            error,
            QmpError::Timeout {
                command: "qmp_capabilities",
                ..
            }
        ));
    }

    /// A VMM that writes each of `parts` again and again, whatever it is told.
    fn flood(parts: Vec<Vec<u8>>) -> UnixStream {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            for part in parts.iter().cycle() {
                if theirs.write_all(part).await.is_err() {
                    return;
                }
            }
        });
        ours
    }

    /// The most memory that this process had, in KiB.
    fn peak() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }

    #[tokio::test]
    async fn a_hostile_vmm_takes_neither_memory_nor_time() {
        let long = "x".repeat(200 << 10);
        let event = format!("{{\"event\": \"{long}\"}}\n");
        let nested = format!("{}{}\n", "[".repeat(100 << 10), "]".repeat(100 << 10));
        let flat = format!("{{\"a\": [{}1]}}\n", "[],".repeat(60 << 10));
        let refusal = format!("{{\"error\": {{\"desc\": \"a\\nError: b\\u001b[2J{long}\"}}}}\n");
        let before = peak();
        for (what, parts) in [
            ("events", vec![event.clone()]),
            ("nesting", vec![nested]),
            ("lists", vec![flat]),
            ("no JSON", vec!["{]\n".to_owned()]),
            (
                "no object",
                vec![
                    "17\n".to_owned(),
                    "\"event\"\n".to_owned(),
                    "[[\"event\"]]\n".to_owned(),
                ],
            ),
            (
                "odd types",
                vec!["{\"event\": {}, \"return\": null, \"error\": 3}\n".to_owned()],
            ),
            ("half an answer", vec!["{\"return\": ".to_owned()]),
            ("answers to nothing", vec!["{\"return\": {}}\n".to_owned()]),
            ("refusals", vec![refusal]),
        ] {
            let stream = flood(parts.into_iter().map(String::into_bytes).collect());
            let limit = Duration::from_millis(200);
            if let Ok(qmp) = Qmp::negotiate(stream, limit).await {
                let mut events = qmp.subscribe().ok();
                let answer = qmp.execute("query-status", Value::Null, limit).await;
                if let Err(QmpError::Refused { description, .. }) = answer {
                    assert!(description.chars().count() <= DESCRIPTION, "{what}");
                    assert!(!description.contains(char::is_control), "{what}");
                }
                if let Some(Ok(event)) = events.as_mut().map(broadcast::Receiver::try_recv) {
                    assert!(event.len() <= EVENT_NAME, "{what}");
                }
            }
        }
        let grown = peak() - before;
        assert!(grown < 24 << 10, "{grown} KiB");
    }

    #[tokio::test]
    async fn an_endless_line_closes_the_connection() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            let junk = vec![b'x'; 64 << 10];
            while theirs.write_all(&junk).await.is_ok() {}
        });
        let error = Qmp::negotiate(ours, LIMIT).await.unwrap_err();
        assert!(matches!(error, QmpError::Closed), "{error}");
    }
}
