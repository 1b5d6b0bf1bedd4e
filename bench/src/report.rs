//! What was measured: raw, as a table, as a chart.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::chart;
use crate::samples::Samples;

/// Everything that was measured.
#[derive(Debug)]
pub struct Report {
    environment: Value,
    figures: Vec<(String, &'static str, Samples)>,
    bounds: Vec<Bound>,
    failures: Vec<String>,
}

/// A figure that was promised.
#[derive(Debug)]
struct Bound {
    name: String,
    value: f64,
    limit: Option<Limit>,
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Limit {
    fn verdict(self, value: f64) -> String {
        let (words, limit, holds) = match self {
            Self::AtMost(limit) => ("at most", limit, value <= limit),
            Self::AtLeast(limit) => ("at least", limit, value >= limit),
        };
        let holds = if holds { "holds" } else { "DOES NOT HOLD" };
        format!("{words} {limit}: {holds}")
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
            failures: Vec::new(),
        }
    }

    /// Keeps a sample, or the failure that came in its place.
    pub fn attempt(&mut self, what: &str, taken: anyhow::Result<f64>, samples: &mut Samples) {
        match taken {
            Ok(taken) => samples.0.push(taken),
            Err(error) => self.fail(what, &error),
        }
    }

    /// Keeps a failure.
    pub fn fail(&mut self, what: &str, error: &anyhow::Error) {
        self.failures.push(format!("{what}: {error:#}"));
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
    pub fn bound(&mut self, name: &str, value: f64, at_most: f64) {
        self.bounds.push(Bound {
            name: name.to_owned(),
            value,
            limit: Some(Limit::AtMost(at_most)),
        });
    }

    /// Adds a figure that was promised to be at least `at_least`.
    pub fn at_least(&mut self, name: &str, value: f64, at_least: f64) {
        self.bounds.push(Bound {
            name: name.to_owned(),
            value,
            limit: Some(Limit::AtLeast(at_least)),
        });
    }

    /// Writes `results.json` and `start.svg` into `directory`.
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
        let all = json!({
            "environment": self.environment,
            "figures": figures,
            "promises": bounds,
            "failures": self.failures,
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
            "{:<58} {:>9} {:>9} {:>9} {:>4}",
            "", "p50", "p95", "p99", "n"
        );
        for (name, unit, samples) in &self.figures {
            let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|q| samples.quantile(q));
            let _ = writeln!(
                text,
                "{name:<58} {p50:>9.2} {p95:>9.2} {p99:>9.2} {:>4} {unit}",
                samples.0.len()
            );
        }
        let _ = writeln!(text);
        for Bound { name, value, limit } in &self.bounds {
            let verdict = limit.map_or_else(String::new, |limit| limit.verdict(*value));
            let _ = writeln!(text, "{name:<58} {value:>9.2} {verdict}");
        }
        let _ = writeln!(text, "failures: {}", self.failures.len());
        for failure in &self.failures {
            let _ = writeln!(text, "  {failure}");
        }
        text
    }
}
