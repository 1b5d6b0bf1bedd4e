//! The phases of a start, as `--debug` shows them.

use std::fmt::Write as _;

use container_api::api::StartReply;
use container_resource::bundle::{Phase, Timeline};
use jiff::Timestamp;

use crate::connection::Context;
use crate::output;

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
    output::ask(render(&timeline));
}

/// Tells with `--debug` how long after this command's own start its process was known to have ended.
pub fn show_end(context: &Context) {
    if context.debug {
        let taken = Timestamp::now().as_microsecond() - context.begun.as_microsecond();
        output::ask(format!("debug: {:>10} end received\n", milliseconds(taken)));
    }
}

/// A line for each phase: when it was reached after the first one, and how long after the one before it.
fn render(timeline: &Timeline) -> String {
    let mut text = String::new();
    let Some(first) = timeline.phases.first() else {
        return text;
    };
    let mut before = first.at_us;
    for phase in &timeline.phases {
        let _ = writeln!(
            text,
            "debug: {:>10} {:>11}  {}",
            milliseconds(phase.at_us - first.at_us),
            format!("+{}", milliseconds(phase.at_us - before)),
            phase.name,
        );
        before = phase.at_us;
    }
    text
}

fn milliseconds(micros: i64) -> String {
    format!("{}.{:03} ms", micros / 1000, (micros % 1000).abs())
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
            "debug:   0.000 ms   +0.000 ms  asked\n\
             debug:  12.345 ms  +12.345 ms  machine runs\n"
        );
        assert_eq!(render(&Timeline::default()), "");
    }
}
