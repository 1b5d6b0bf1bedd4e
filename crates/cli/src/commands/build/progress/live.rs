//! A tree on a terminal: steps that have ended stand above, and those that run move below, each with the last line of its output.

use std::collections::HashMap;
use std::time::Duration;

use container_buildkit::{Change, StepState, Trace};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::plain::{end, transferred};
use crate::output;

/// How often what runs is drawn.
const TICK: Duration = Duration::from_millis(100);
/// Steps that are drawn while they run.
const SHOWN: usize = 16;

/// What is drawn.
#[derive(Debug)]
pub struct Live {
    bars: MultiProgress,
    /// By the place of its step.
    running: HashMap<usize, ProgressBar>,
}

impl Live {
    /// On standard error.
    pub fn new() -> Self {
        Self {
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            running: HashMap::new(),
        }
    }

    /// Draws `changes`.
    pub fn show(&mut self, trace: &Trace, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Step(place) => self.step(trace, *place),
                Change::Line(place, _, line) => self.say(*place, line),
                Change::Transferred(place, index) => {
                    let transfer = &trace.steps()[*place].transfers[*index];
                    if let Some(text) = transferred(transfer) {
                        self.say(*place, &text);
                    }
                }
            }
        }
        // What goes on with those that tell nothing of its end.
        for (place, bar) in &self.running {
            let transfers = &trace.steps()[*place].transfers;
            let open = transfers.iter().rev().find(|transfer| !transfer.is_done);
            if let Some(text) = open.and_then(transferred) {
                bar.set_message(output::printable(&text));
            }
        }
    }

    /// Takes away what is still drawn.
    pub fn finish(&mut self) {
        for (_, bar) in self.running.drain() {
            bar.finish_and_clear();
        }
    }

    fn step(&mut self, trace: &Trace, place: usize) {
        let step = &trace.steps()[place];
        let name = output::printable(&step.name);
        if let Some(end) = end(step) {
            if let Some(bar) = self.running.remove(&place) {
                bar.finish_and_clear();
                self.bars.remove(&bar);
            }
            let mark = if matches!(step.state, StepState::Failed(_)) {
                "✗"
            } else {
                "✓"
            };
            // A terminal that is gone shows nothing any more.
            let _ = self
                .bars
                .println(format!(" {mark} {name}  {}", output::printable(&end)));
        } else if matches!(step.state, StepState::Running(_))
            && !self.running.contains_key(&place)
            && self.running.len() < SHOWN
        {
            let bar = self.bars.add(ProgressBar::new_spinner());
            bar.set_style(style());
            bar.set_prefix(name);
            bar.enable_steady_tick(TICK);
            self.running.insert(place, bar);
        }
    }

    fn say(&self, place: usize, line: &str) {
        if let Some(bar) = self.running.get(&place) {
            bar.set_message(output::printable(line));
        }
    }
}

fn style() -> ProgressStyle {
    // The template is well formed: see the test.
    ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// Spinner, the step, its time; the last line of its output below.
const TEMPLATE: &str = " {spinner} {prefix}  {elapsed}\n     {wide_msg:.dim}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_well_formed() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
