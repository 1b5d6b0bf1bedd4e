//! The phases of a start, as `--debug` shows them.

use container_api::api::StartReply;
use container_resource::bundle::{Phase, Timeline};
use jiff::Timestamp;

use crate::connection::Context;
use crate::output;

/// Tells of a container that runs, but not with all that it was to have.
pub fn warn(reply: &StartReply) {
    for warning in &reply.warnings {
        output::tell(format_args!("Warning: {warning}"));
    }
}

/// Tells with `--debug` what a start took, from this command's own start to now.
pub fn show(context: &Context, reply: &StartReply) {
    if !context.debug {
        return;
    }
    // A service that says nothing of its phases leaves those of this side.
    let mut timeline: Timeline = serde_json::from_slice(&reply.timeline).unwrap_or_default();
    let begun = Phase {
        name: "command began".to_owned(),
        at_us: context.begun.as_microsecond(),
    };
    timeline.phases.insert(0, begun);
    timeline.reached("answer received");
    for line in render(&timeline) {
        output::tell(line);
    }
}

/// Tells with `--debug` how long after this command's own start its process was known to have ended.
pub fn show_end(context: &Context) {
    if context.debug {
        let now = Timestamp::now().as_microsecond();
        let taken = now.saturating_sub(context.begun.as_microsecond());
        output::tell(format_args!(
            "debug: {:>10} end received",
            milliseconds(taken)
        ));
    }
}

/// A line for each phase: when it was reached after the first one, and how long after the one before it. The clock may
/// have been set meanwhile, and a guest says what it likes: a time before the one before it is shown as such.
fn render(timeline: &Timeline) -> Vec<String> {
    let Some(first) = timeline.phases.first() else {
        return Vec::new();
    };
    let mut before = first.at_us;
    let mut lines = Vec::with_capacity(timeline.phases.len());
    for phase in &timeline.phases {
        let step = milliseconds(phase.at_us.saturating_sub(before));
        let sign = if step.starts_with('-') { "" } else { "+" };
        lines.push(format!(
            "debug: {:>10} {:>11}  {}",
            milliseconds(phase.at_us.saturating_sub(first.at_us)),
            format!("{sign}{step}"),
            phase.name,
        ));
        before = phase.at_us;
    }
    lines
}

fn milliseconds(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    format!("{sign}{}.{:03} ms", micros / 1000, micros % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_from_the_start_and_from_phase_to_phase() {
        let mut timeline = Timeline::default();
        timeline.reached_at("asked", 1_000_000);
        timeline.reached_at("machine runs", 1_012_345);
        assert_eq!(
            render(&timeline),
            [
                "debug:   0.000 ms   +0.000 ms  asked",
                "debug:  12.345 ms  +12.345 ms  machine runs"
            ]
        );
        assert_eq!(render(&Timeline::default()), Vec::<String>::new());
    }

    #[test]
    fn a_clock_that_was_set_back_is_shown_and_overflows_nothing() {
        let mut timeline = Timeline::default();
        timeline.reached_at("asked", 1_000_000);
        timeline.reached_at("machine runs", 999_500);
        timeline.reached_at("nonsense", i64::MIN);
        let lines = render(&timeline);
        assert_eq!(lines[1], "debug:  -0.500 ms   -0.500 ms  machine runs");
        assert!(lines[2].ends_with("ms  nonsense"));
    }
}
