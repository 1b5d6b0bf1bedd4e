//! The progress of a build: its steps, as the builder reports them.

use std::collections::{HashMap, HashSet, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard_buildkit_proto::google::protobuf::Timestamp as Moment;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex, VertexWarning};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::excerpt::Excerpt;

/// Steps that are followed. A build has some tens.
const MAX_STEPS: usize = 10_000;
/// Transfers of one step that are followed.
const MAX_TRANSFERS: usize = 1_000;
/// Warnings that are kept.
const MAX_WARNINGS: usize = 200;
/// Last lines of a step's output that are kept, to be shown when it fails.
const KEPT_LINES: usize = 40;
/// Bytes of a line; a longer one is broken.
const MAX_LINE: usize = 16 << 10;

/// One message of the builder's.
pub type Update = StatusResponse;

/// How far a step is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepState {
    /// Others come first.
    Waiting,
    /// Since then.
    Running(Timestamp),
    /// It took so many seconds in tenths.
    Done(i64),
    /// Its result was there.
    Cached,
    /// The build was given up.
    Canceled,
    /// Why it failed.
    Failed(String),
}

/// A step.
#[derive(Clone, Debug)]
pub struct Step {
    /// From 1, in the order in which they were reported.
    pub number: usize,
    /// What it does, such as `[2/3] RUN make`.
    pub name: String,
    /// How far it is.
    pub state: StepState,
    /// What it moves.
    pub transfers: Vec<Transfer>,
    /// The last lines of its output.
    pub output: VecDeque<String>,
    partial: Vec<u8>,
    started: Option<Timestamp>,
}

/// Something that a step moves or unpacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// What.
    pub id: String,
    /// Bytes, or another measure.
    pub current: u64,
    /// 0: not known.
    pub total: u64,
    /// It is over.
    pub is_done: bool,
}

/// What the builder's linter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// In one line.
    pub text: String,
    /// More of it.
    pub detail: String,
    /// Where it is explained.
    pub url: String,
    /// What it is about.
    pub excerpt: Option<Excerpt>,
}

/// What an update has changed. Steps are given by their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A step began, ended, or was reported.
    Step(usize),
    /// A line of its output, and the tenths of a second since it began.
    Line(usize, i64, String),
    /// A transfer of it, by its place, has ended.
    Transferred(usize, usize),
}

/// All steps.
#[derive(Debug, Default)]
pub struct Trace {
    steps: Vec<Step>,
    by_digest: HashMap<String, usize>,
    warnings: Vec<Warning>,
    told: HashSet<Vec<u8>>,
}

impl Trace {
    /// The steps, in the order of their numbers.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What the linter says, each once.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Takes an update in, and says what has changed.
    pub fn apply(&mut self, update: &Update) -> Vec<Change> {
        let mut changes = Vec::new();
        for vertex in &update.vertexes {
            if let Some(place) = self.place(vertex) {
                if self.steps[place].update(vertex) {
                    changes.push(Change::Step(place));
                }
            }
        }
        for status in &update.statuses {
            let Some(place) = self.by_digest.get(&status.vertex).copied() else {
                continue;
            };
            let amount = |number: i64| u64::try_from(number).unwrap_or(0);
            let transfer = Transfer {
                id: status.id.clone(),
                current: amount(status.current),
                total: amount(status.total),
                is_done: status.completed.is_some(),
            };
            let step = &mut self.steps[place];
            if let Some(index) = step.transfer(transfer) {
                changes.push(Change::Transferred(place, index));
            }
        }
        for log in &update.logs {
            let Some(place) = self.by_digest.get(&log.vertex).copied() else {
                continue;
            };
            let step = &mut self.steps[place];
            let since = tenths(step.started, log.timestamp.as_ref().and_then(timestamp));
            for line in step.lines(&log.msg) {
                changes.push(Change::Line(place, since, line));
            }
        }
        for warning in &update.warnings {
            self.warn(warning);
        }
        changes
    }

    fn place(&mut self, vertex: &Vertex) -> Option<usize> {
        if let Some(place) = self.by_digest.get(&vertex.digest) {
            return Some(*place);
        }
        if self.steps.len() >= MAX_STEPS {
            return None;
        }
        let place = self.steps.len();
        self.by_digest.insert(vertex.digest.clone(), place);
        self.steps.push(Step {
            number: place + 1,
            name: vertex.name.clone(),
            state: StepState::Waiting,
            transfers: Vec::new(),
            output: VecDeque::new(),
            partial: Vec::new(),
            started: None,
        });
        Some(place)
    }

    fn warn(&mut self, warning: &VertexWarning) {
        if self.warnings.len() >= MAX_WARNINGS || !self.told.insert(warning.short.clone()) {
            return;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let detail: Vec<String> = warning.detail.iter().map(|line| text(line)).collect();
        self.warnings.push(Warning {
            text: text(&warning.short),
            detail: detail.join(" "),
            url: warning.url.clone(),
            excerpt: warning
                .info
                .as_ref()
                .and_then(|info| Excerpt::of(info, &warning.ranges)),
        });
    }
}

impl Step {
    /// Whether something has changed.
    fn update(&mut self, vertex: &Vertex) -> bool {
        self.name.clone_from(&vertex.name);
        let started = vertex.started.as_ref().and_then(timestamp);
        if started.is_some() {
            self.started = started;
        }
        let completed = vertex.completed.as_ref().and_then(timestamp);
        let state = match (completed, self.started) {
            (Some(_), _) if vertex.error.ends_with("context canceled") => StepState::Canceled,
            (Some(_), _) if !vertex.error.is_empty() => StepState::Failed(vertex.error.clone()),
            (Some(_), _) if vertex.cached => StepState::Cached,
            (Some(_), started) => StepState::Done(tenths(started, completed)),
            (None, Some(started)) => StepState::Running(started),
            (None, None) => StepState::Waiting,
        };
        let is_new = state != self.state;
        self.state = state;
        is_new
    }

    /// Records a transfer; gives its place if it has ended now.
    fn transfer(&mut self, transfer: Transfer) -> Option<usize> {
        let found = self
            .transfers
            .iter()
            .position(|known| known.id == transfer.id);
        let Some(index) = found else {
            if self.transfers.len() >= MAX_TRANSFERS {
                return None;
            }
            let is_done = transfer.is_done;
            self.transfers.push(transfer);
            return is_done.then(|| self.transfers.len() - 1);
        };
        let ends = transfer.is_done && !self.transfers[index].is_done;
        self.transfers[index] = transfer;
        ends.then_some(index)
    }

    /// The lines that `bytes` complete.
    fn lines(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.partial.len() > MAX_LINE {
                let line = String::from_utf8_lossy(&self.partial);
                // A progress bar of a program writes over its line: what stands there last is shown.
                let line = line.trim_end_matches(['\n', '\r']);
                let line = line.rsplit('\r').next().unwrap_or_default().to_owned();
                self.partial.clear();
                if self.output.len() == KEPT_LINES {
                    self.output.pop_front();
                }
                self.output.push_back(line.clone());
                lines.push(line);
            }
        }
        lines
    }
}

fn timestamp(moment: &Moment) -> Option<Timestamp> {
    Timestamp::new(moment.seconds, moment.nanos).ok()
}

/// Tenths of a second from one to the other, 0 at the least.
fn tenths(from: Option<Timestamp>, to: Option<Timestamp>) -> i64 {
    let (Some(from), Some(to)) = (from, to) else {
        return 0;
    };
    (to.as_millisecond().saturating_sub(from.as_millisecond()) / 100).max(0)
}

/// An update as buildx writes it with `--progress=rawjson`: BuildKit's `client.SolveStatus` as JSON, on one line.
pub fn raw_json(update: &Update) -> String {
    let moment = |moment: Option<&Moment>| moment.and_then(timestamp).map(|time| time.to_string());
    let mut whole = Map::new();
    let mut put = |name: &str, values: Vec<Value>| {
        if !values.is_empty() {
            whole.insert(
                name.to_owned(),
                Value::Array(values.into_iter().map(filled).collect()),
            );
        }
    };
    let vertexes = update.vertexes.iter().map(|vertex| {
        json!({
            "digest": vertex.digest,
            "inputs": vertex.inputs,
            "name": vertex.name,
            "started": moment(vertex.started.as_ref()),
            "completed": moment(vertex.completed.as_ref()),
            "cached": vertex.cached,
            "error": vertex.error,
        })
    });
    put("vertexes", vertexes.collect());
    let statuses = update.statuses.iter().map(|status| {
        json!({
            "id": status.id,
            "vertex": status.vertex,
            "name": status.name,
            "total": status.total,
            "current": status.current,
            "timestamp": moment(status.timestamp.as_ref()),
            "started": moment(status.started.as_ref()),
            "completed": moment(status.completed.as_ref()),
        })
    });
    put("statuses", statuses.collect());
    let logs = update.logs.iter().map(|log| {
        json!({
            "vertex": log.vertex,
            "stream": log.stream,
            "data": STANDARD.encode(&log.msg),
            "timestamp": moment(log.timestamp.as_ref()),
        })
    });
    put("logs", logs.collect());
    let warnings = update.warnings.iter().map(|warning| {
        json!({
            "vertex": warning.vertex,
            "level": warning.level,
            "short": STANDARD.encode(&warning.short),
            "detail": warning.detail.iter().map(|line| STANDARD.encode(line)).collect::<Vec<_>>(),
            "url": warning.url,
        })
    });
    put("warnings", warnings.collect());
    Value::Object(whole).to_string()
}

/// Without the fields that say nothing, which Go leaves out, too.
fn filled(value: Value) -> Value {
    let Value::Object(mut fields) = value else {
        return value;
    };
    fields.retain(|_, value| match value {
        Value::Null => false,
        Value::Bool(set) => *set,
        Value::String(text) => !text.is_empty(),
        Value::Array(values) => !values.is_empty(),
        _ => true,
    });
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use bollard_buildkit_proto::moby::buildkit::v1::{VertexLog, VertexStatus};

    use super::*;

    #[allow(clippy::unnecessary_wraps, reason = "as messages have it")]
    fn at(seconds: i64) -> Option<Moment> {
        Some(Moment {
            seconds,
            nanos: 500_000_000,
        })
    }

    fn vertex(digest: &str, started: Option<Moment>, completed: Option<Moment>) -> Vertex {
        Vertex {
            digest: digest.to_owned(),
            name: format!("step {digest}"),
            started,
            completed,
            ..Vertex::default()
        }
    }

    fn of(vertexes: Vec<Vertex>) -> Update {
        Update {
            vertexes,
            ..Update::default()
        }
    }

    #[test]
    fn a_step_lives() {
        let mut trace = Trace::default();
        let changes = trace.apply(&of(vec![vertex("a", None, None), vertex("b", at(1), None)]));
        assert_eq!(changes, [Change::Step(1)]);
        assert_eq!(trace.steps()[0].state, StepState::Waiting);
        trace.apply(&of(vec![vertex("b", at(1), at(4))]));
        assert_eq!(trace.steps()[1].state, StepState::Done(30));
        assert_eq!(trace.steps()[1].number, 2);
        let failed = Vertex {
            error: "exit code: 1".to_owned(),
            ..vertex("a", at(1), at(2))
        };
        trace.apply(&of(vec![failed]));
        assert_eq!(
            trace.steps()[0].state,
            StepState::Failed("exit code: 1".to_owned())
        );
    }

    #[test]
    fn output_comes_in_lines() {
        let mut trace = Trace::default();
        trace.apply(&of(vec![vertex("a", at(1), None)]));
        let log = |text: &[u8]| Update {
            logs: vec![VertexLog {
                vertex: "a".to_owned(),
                timestamp: at(2),
                msg: text.to_vec(),
                ..VertexLog::default()
            }],
            ..Update::default()
        };
        assert_eq!(
            trace.apply(&log(b"one\ntw")),
            [Change::Line(0, 10, "one".to_owned())]
        );
        assert_eq!(
            trace.apply(&log(b"o\r\n10%\r20%\n")),
            [
                Change::Line(0, 10, "two".to_owned()),
                Change::Line(0, 10, "20%".to_owned()),
            ]
        );
        let long = vec![b'x'; MAX_LINE + 10];
        assert_eq!(trace.apply(&log(&long)).len(), 1);
        for _ in 0..100 {
            trace.apply(&log(b"line\n"));
        }
        assert_eq!(trace.steps()[0].output.len(), KEPT_LINES);
        assert!(trace.apply(&log(b"\xff\n")).len() == 1);
    }

    #[test]
    fn a_transfer_ends_once() {
        let mut trace = Trace::default();
        trace.apply(&of(vec![vertex("a", at(1), None)]));
        let status = |current, completed| Update {
            statuses: vec![VertexStatus {
                id: "transferring context:".to_owned(),
                vertex: "a".to_owned(),
                current,
                completed,
                ..VertexStatus::default()
            }],
            ..Update::default()
        };
        assert!(trace.apply(&status(5, None)).is_empty());
        assert_eq!(trace.apply(&status(9, at(2))), [Change::Transferred(0, 0)]);
        assert!(trace.apply(&status(9, at(2))).is_empty());
        assert_eq!(trace.steps()[0].transfers[0].current, 9);
    }

    #[test]
    fn raw_json_is_go_s() {
        let update = of(vec![vertex("sha256:1", at(1), None)]);
        assert_eq!(
            raw_json(&update),
            r#"{"vertexes":[{"digest":"sha256:1","name":"step sha256:1","started":"1970-01-01T00:00:01.5Z"}]}"#
        );
        let update = Update {
            logs: vec![VertexLog {
                vertex: "v".to_owned(),
                stream: 2,
                msg: b"hi\n".to_vec(),
                ..VertexLog::default()
            }],
            ..Update::default()
        };
        assert_eq!(
            raw_json(&update),
            r#"{"logs":[{"data":"aGkK","stream":2,"vertex":"v"}]}"#
        );
    }
}
