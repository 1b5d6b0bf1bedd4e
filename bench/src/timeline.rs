//! Where the time of a start goes: the phases that `container run --debug` tells of.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::samples::Samples;

/// How long each phase of one kind of start took, over several starts.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// Names in the order in which they were first seen, with milliseconds.
    phases: Vec<(String, Samples)>,
}

impl Timeline {
    /// Adds the start whose standard error was `text`.
    pub fn add(&mut self, text: &str) -> Result<()> {
        let phases = phases(text);
        ensure!(!phases.is_empty(), "no phase is told of: {text}");
        for (name, taken) in phases {
            match self.phases.iter_mut().find(|(known, _)| *known == name) {
                Some((_, samples)) => samples.0.push(Some(taken)),
                None => self.phases.push((name, Samples::once(taken))),
            }
        }
        Ok(())
    }

    /// Milliseconds from the command's beginning until its client knew that the process runs, by its standard error `text`.
    pub fn started(text: &str) -> Result<f64> {
        let mut reached = text.lines().filter_map(reached);
        let found = reached.find(|(name, _)| name == "answer received");
        let (_, at) = found.with_context(|| format!("no start is told of: {text}"))?;
        Ok(at)
    }

    /// The phases with all their samples.
    pub fn json(&self) -> Value {
        self.phases
            .iter()
            .map(|(name, samples)| json!({"phase": name, "unit": "ms", "figure": samples.json()}))
            .collect()
    }

    /// For people: a line for each phase, with the median of what it took.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for (name, samples) in &self.phases {
            let median = samples.median().unwrap_or(f64::NAN);
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "  {name:<56} {median:>9.2} {:>25} ms",
                samples.0.len()
            );
        }
        text
    }
}

/// Each phase with the milliseconds since the one before it; the first one only begins.
fn phases(text: &str) -> Vec<(String, f64)> {
    let reached: Vec<(String, f64)> = text.lines().filter_map(reached).collect();
    reached
        .iter()
        .zip(reached.iter().skip(1))
        .map(|((_, before), (name, at))| (name.clone(), at - before))
        .collect()
}

/// What `debug: 161.278 ms  +33.035 ms  helper started` says: its name, and when that was, in milliseconds. The second
/// time, which is not in every line, is the difference to the line before.
fn reached(line: &str) -> Option<(String, f64)> {
    let (at, rest) = line.strip_prefix("debug:")?.split_once(" ms ")?;
    let at = at.trim().parse().ok()?;
    let rest = rest.trim();
    let name = match rest.strip_prefix('+') {
        Some(rest) => rest.split_once(" ms ")?.1.trim(),
        None => rest,
    };
    Some((name.to_owned(), at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "debug: image busybox is manifest sha256:0123\n\
        debug:   0.000 ms   +0.000 ms  command began\n\
        debug: 128.250 ms +128.250 ms  asked\n\
        warning: 5 ms are no phase\n\
        debug: 161.250 ms  +33.000 ms  helper started\n\
        debug: 163.500 ms end received\n";

    #[test]
    fn phases_are_told_of() {
        let expected = [
            ("asked", 128.25),
            ("helper started", 33.0),
            ("end received", 2.25),
        ]
        .map(|(name, taken)| (name.to_owned(), taken));
        assert_eq!(phases(TOLD), expected);
        assert!(Timeline::default().add("debug: nothing\n").is_err());
        assert!(Timeline::started(TOLD).is_err());
        let told = TOLD.replace("helper started", "answer received");
        assert!((Timeline::started(&told).unwrap() - 161.25).abs() < 0.001);
    }

    #[test]
    fn a_phase_of_every_start_has_a_median() {
        let mut timeline = Timeline::default();
        timeline.add(TOLD).unwrap();
        timeline.add(&TOLD.replace("helper", "other")).unwrap();
        let all = timeline.json();
        let names: Vec<_> = all
            .as_array()
            .unwrap()
            .iter()
            .map(|phase| {
                (
                    phase["phase"].as_str().unwrap(),
                    phase["figure"]["samples"].as_array().unwrap().len(),
                )
            })
            .collect();
        assert_eq!(
            names,
            [
                ("asked", 2),
                ("helper started", 1),
                ("end received", 2),
                ("other started", 1)
            ]
        );
        assert!(timeline.table().contains("helper started"));
    }
}
