//! Lines, as buildx writes them to a pipe.

use std::collections::HashSet;

use container_buildkit::{Change, Step, StepState, Trace, Transfer};

use super::super::deliver::LENT_NAME;

/// What was written last.
#[derive(Debug, Default)]
pub struct Plain {
    /// The step whose lines stand there, by its place.
    current: Option<usize>,
    /// Steps that were named before.
    named: HashSet<usize>,
    /// Steps that have ended, as far as is known: some are begun again at once, which is not worth a line.
    ended: Vec<usize>,
}

impl Plain {
    /// The lines that `changes` add.
    pub fn lines(&mut self, trace: &Trace, changes: &[Change]) -> Vec<String> {
        let mut lines = Vec::new();
        self.end(trace, &mut lines);
        // What one step says at once stands together.
        let mut changes: Vec<&Change> = changes.iter().collect();
        changes.sort_by_key(|change| place(change));
        for change in changes {
            let place = place(change);
            let step = &trace.steps()[place];
            let number = step.number;
            match change {
                Change::Step(_) => {
                    if end(step).is_some() {
                        self.ended.push(place);
                    } else if !self.named.contains(&place) && is_running(step) {
                        self.turn_to(place, step, &mut lines);
                    }
                }
                Change::Line(_, tenths, line) => {
                    self.turn_to(place, step, &mut lines);
                    lines.push(format!("#{number} {}.{} {line}", tenths / 10, tenths % 10));
                }
                Change::Transferred(_, index) => {
                    if let Some(text) = transferred(&step.transfers[*index]) {
                        self.turn_to(place, step, &mut lines);
                        lines.push(format!("#{number} {text} done"));
                    }
                }
            }
        }
        lines
    }

    /// The lines that are left at the end.
    pub fn last_lines(&mut self, trace: &Trace) -> Vec<String> {
        let mut lines = Vec::new();
        self.end(trace, &mut lines);
        lines
    }

    /// Tells of the ends that still are ones.
    fn end(&mut self, trace: &Trace, lines: &mut Vec<String>) {
        let mut ended = std::mem::take(&mut self.ended);
        ended.dedup();
        for place in ended {
            let step = &trace.steps()[place];
            if let Some(end) = end(step) {
                self.turn_to(place, step, lines);
                lines.push(format!("#{} {end}", step.number));
                self.current = None;
            }
        }
    }

    /// Names the step, unless its lines stand there.
    fn turn_to(&mut self, place: usize, step: &Step, lines: &mut Vec<String>) {
        if self.current == Some(place) {
            return;
        }
        if !self.named.is_empty() {
            lines.push(String::new());
        }
        self.named.insert(place);
        self.current = Some(place);
        lines.push(format!("#{} {}", step.number, step.name));
    }
}

fn place(change: &Change) -> usize {
    match change {
        Change::Step(place) | Change::Line(place, _, _) | Change::Transferred(place, _) => *place,
    }
}

fn is_running(step: &Step) -> bool {
    matches!(step.state, StepState::Running(_))
}

/// What is said of a step that has ended.
pub fn end(step: &Step) -> Option<String> {
    match &step.state {
        StepState::Waiting | StepState::Running(_) => None,
        StepState::Done(tenths) => Some(format!("DONE {}.{}s", tenths / 10, tenths % 10)),
        StepState::Cached => Some("CACHED".to_owned()),
        StepState::Canceled => Some("CANCELED".to_owned()),
        StepState::Failed(error) => Some(format!("ERROR: {error}")),
    }
}

/// A transfer, and how much of it; nothing of the name that a result has on its way.
pub fn transferred(transfer: &Transfer) -> Option<String> {
    if transfer.id.contains(LENT_NAME) {
        return None;
    }
    let size = |bytes| indicatif::HumanBytes(bytes).to_string();
    Some(match (transfer.current, transfer.total) {
        (0, 0) => transfer.id.clone(),
        (current, 0) => format!("{} {}", transfer.id, size(current)),
        (current, total) => format!("{} {} / {}", transfer.id, size(current), size(total)),
    })
}

#[cfg(test)]
mod tests {
    use container_buildkit::Update;
    use container_buildkit::protocol::{Moment, Vertex, VertexLog, VertexStatus};

    use super::*;

    #[allow(clippy::unnecessary_wraps, reason = "as messages have it")]
    fn at(seconds: i64) -> Option<Moment> {
        Some(Moment { seconds, nanos: 0 })
    }

    fn vertex(digest: &str, started: i64, completed: Option<i64>) -> Vertex {
        Vertex {
            digest: digest.to_owned(),
            name: format!("[{digest}/2] RUN {digest}"),
            started: at(started),
            completed: completed.and_then(at),
            ..Vertex::default()
        }
    }

    fn log(digest: &str, text: &str) -> VertexLog {
        VertexLog {
            vertex: digest.to_owned(),
            timestamp: at(3),
            msg: text.as_bytes().to_vec(),
            ..VertexLog::default()
        }
    }

    #[test]
    fn steps_side_by_side_are_told_apart() {
        let mut trace = Trace::default();
        let mut plain = Plain::default();
        let mut told = Vec::new();
        let mut tell = |update: Update| {
            let changes = trace.apply(&update);
            told.extend(plain.lines(&trace, &changes));
        };
        tell(Update {
            vertexes: vec![vertex("1", 1, None), vertex("2", 2, None)],
            logs: vec![
                log("1", "hello\n"),
                log("1", "again\n"),
                log("2", "other\n"),
            ],
            ..Update::default()
        });
        tell(Update {
            vertexes: vec![
                vertex("1", 1, Some(4)),
                Vertex {
                    error: "exit code: 1".to_owned(),
                    ..vertex("2", 2, Some(5))
                },
            ],
            statuses: vec![VertexStatus {
                id: "exporting layers".to_owned(),
                vertex: "1".to_owned(),
                current: 2048,
                completed: at(4),
                ..VertexStatus::default()
            }],
            ..Update::default()
        });
        told.extend(plain.last_lines(&trace));
        assert_eq!(
            told.join("\n"),
            "#1 [1/2] RUN 1\n#1 2.0 hello\n#1 2.0 again\n\n#2 [2/2] RUN 2\n#2 1.0 other\n\n\
             #1 [1/2] RUN 1\n#1 exporting layers 2.00 KiB done\n#1 DONE 3.0s\n\n#2 [2/2] RUN 2\n#2 ERROR: exit code: 1"
        );
    }
}
