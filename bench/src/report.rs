//! What was measured: raw, as a table, as a chart.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::chart;
use crate::samples::Samples;
use crate::timeline::Timeline;

/// Everything that was measured.
#[derive(Debug)]
pub struct Report {
    environment: Value,
    figures: Vec<(String, &'static str, Samples)>,
    bounds: Vec<Bound>,
    timelines: Vec<(&'static str, Timeline)>,
    failures: Vec<String>,
    left_out: Vec<String>,
}

/// A figure that was promised.
#[derive(Debug)]
struct Bound {
    name: String,
    /// `None` when it could not be measured.
    value: Option<f64>,
    limit: Option<Limit>,
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Limit {
    fn verdict(self, value: Option<f64>) -> String {
        let (words, limit, holds) = match self {
            Self::AtMost(limit) => ("at most", limit, value.map(|value| value <= limit)),
            Self::AtLeast(limit) => ("at least", limit, value.map(|value| value >= limit)),
        };
        let verdict = match holds {
            Some(true) => "holds",
            Some(false) => "DOES NOT HOLD",
            None => "NOT MEASURED",
        };
        format!("{words} {limit}: {verdict}")
    }

    fn json(self) -> Value {
        match self {
            Self::AtMost(limit) => json!({"atMost": limit}),
            Self::AtLeast(limit) => json!({"atLeast": limit}),
        }
    }
}

impl Report {
    /// Nothing yet, measured in `environment`.
    pub fn new(environment: Value) -> Self {
        Self {
            environment,
            figures: Vec::new(),
            bounds: Vec::new(),
            timelines: Vec::new(),
            failures: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// Keeps the sample of a round, or the failure that came in its place.
    pub fn attempt(&mut self, what: &str, taken: anyhow::Result<f64>, samples: &mut Samples) {
        let taken = self.keep(what, taken);
        samples.0.push(taken);
    }

    /// What there is, unless it is a failure, which is kept.
    pub fn keep<T>(&mut self, what: &str, done: anyhow::Result<T>) -> Option<T> {
        done.inspect_err(|error| self.fail(what, error)).ok()
    }

    fn fail(&mut self, what: &str, error: &anyhow::Error) {
        self.failures.push(format!("{what}: {error:#}"));
    }

    /// Tells of a peer that cannot be run here: that is no failure of ours.
    pub fn left_out(&mut self, peer: &str, why: &anyhow::Error) {
        self.left_out.push(format!("{peer}: {why:#}"));
    }

    /// Whether anything has failed. A promise that does not hold is a result, not a failure.
    pub fn has_failures(&self) -> bool {
        !self.failures.is_empty()
    }

    /// Adds the samples of a figure.
    pub fn figure(&mut self, name: &str, unit: &'static str, samples: &Samples) {
        self.figures.push((name.to_owned(), unit, samples.clone()));
    }

    /// Adds a ratio, pair by pair.
    pub fn ratio(&mut self, name: &str, samples: &Samples, at_most: Option<f64>) {
        self.figure(name, "ratio", samples);
        self.bounds.push(Bound {
            name: name.to_owned(),
            value: samples.median(),
            limit: at_most.map(Limit::AtMost),
        });
    }

    /// Adds a figure that was promised to be at most `at_most`.
    pub fn bound(&mut self, name: &str, value: Option<f64>, at_most: f64) {
        self.bounds.push(Bound {
            name: name.to_owned(),
            value,
            limit: Some(Limit::AtMost(at_most)),
        });
    }

    /// Adds a figure that was promised to be at least `at_least`.
    pub fn at_least(&mut self, name: &str, value: Option<f64>, at_least: f64) {
        self.bounds.push(Bound {
            name: name.to_owned(),
            value,
            limit: Some(Limit::AtLeast(at_least)),
        });
    }

    /// Adds where the time of one kind of start goes.
    pub fn timeline(&mut self, start: &'static str, timeline: Timeline) {
        self.timelines.push((start, timeline));
    }

    /// Writes `results.json` and `latency.svg` into `directory`.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let figures: Vec<Value> = self
            .figures
            .iter()
            .map(|(name, unit, samples)| json!({"name": name, "unit": unit, "figure": samples.json()}))
            .collect();
        let bounds: Vec<Value> = self
            .bounds
            .iter()
            .map(|bound| json!({"name": bound.name, "value": bound.value, "limit": bound.limit.map(Limit::json)}))
            .collect();
        let timelines: Vec<Value> = self
            .timelines
            .iter()
            .map(|(start, timeline)| json!({"start": start, "phases": timeline.json()}))
            .collect();
        let all = json!({
            "environment": self.environment,
            "figures": figures,
            "promises": bounds,
            "timelines": timelines,
            "failures": self.failures,
            "leftOut": self.left_out,
        });
        std::fs::write(
            directory.join("results.json"),
            serde_json::to_string_pretty(&all)?,
        )?;
        let starts: Vec<_> = self
            .figures
            .iter()
            .filter(|(_, unit, _)| *unit == "ms")
            .map(|(name, _, samples)| (name.as_str(), samples))
            .collect();
        std::fs::write(directory.join("latency.svg"), chart::bars(&starts))?;
        Ok(())
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<58} {:>9} {:>9} {:>9} {:>5}",
            "", "p50", "p95", "p99", "n"
        );
        for (name, unit, samples) in &self.figures {
            let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|q| number(samples.quantile(q)));
            let _ = writeln!(
                text,
                "{name:<58} {p50:>9} {p95:>9} {p99:>9} {:>5} {unit}",
                samples.rounds()
            );
        }
        let _ = writeln!(text);
        for Bound { name, value, limit } in &self.bounds {
            let verdict = limit.map_or_else(String::new, |limit| limit.verdict(*value));
            let _ = writeln!(text, "{name:<58} {:>9} {verdict}", number(*value));
        }
        for (start, timeline) in &self.timelines {
            let _ = write!(text, "\nphases of a start, {start}\n{}", timeline.table());
        }
        for peer in &self.left_out {
            let _ = writeln!(text, "\ncannot be run here: {peer}");
        }
        let _ = writeln!(text, "\nfailures: {}", self.failures.len());
        for failure in &self.failures {
            let _ = writeln!(text, "  {failure}");
        }
        text
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_holds_nothing() {
        let mut report = Report::new(json!({}));
        let mut samples = Samples::default();
        report.attempt("start", Err(anyhow::anyhow!("no machine")), &mut samples);
        report.figure("start", "ms", &samples);
        report.bound("start (ms)", samples.median(), 20.0);
        report.at_least("rate", None, 1.0);
        report.ratio("start / start", &samples.ratio(&samples), Some(1.0));
        assert!(report.has_failures());
        let table = report.table();
        assert_eq!(table.matches("NOT MEASURED").count(), 3, "{table}");
        assert!(
            !table.contains("holds") && !table.contains("HOLD"),
            "{table}"
        );
        assert!(
            table.ends_with("failures: 1\n  start: no machine\n"),
            "{table}"
        );
    }

    #[test]
    fn verdicts_are_of_what_was_measured() {
        let mut report = Report::new(json!({}));
        report.bound("below", Some(1.0), 1.0);
        report.bound("above", Some(1.5), 1.0);
        report.at_least("enough", Some(1.0), 1.0);
        let table = report.table();
        let verdicts: Vec<_> = table
            .lines()
            .filter_map(|line| line.split_once(": "))
            .collect();
        assert_eq!(
            verdicts
                .iter()
                .map(|(_, verdict)| *verdict)
                .collect::<Vec<_>>(),
            ["holds", "DOES NOT HOLD", "holds", "0"]
        );
        assert!(!report.has_failures());
    }

    #[test]
    fn everything_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let mut report = Report::new(json!({}));
        report.figure("start", "ms", &Samples(vec![Some(1.0), None]));
        let mut timeline = Timeline::default();
        timeline.add("debug: 0.0 ms a\ndebug: 1.5 ms b\n").unwrap();
        report.timeline("cold", timeline);
        report.write(directory.path()).unwrap();
        let text = std::fs::read(directory.path().join("results.json")).unwrap();
        let all: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(all["figures"][0]["figure"]["samples"], json!([1.0, null]));
        assert_eq!(
            all["timelines"][0]["phases"][0]["figure"]["p50"],
            json!(1.5)
        );
        assert!(directory.path().join("latency.svg").exists());
    }
}
