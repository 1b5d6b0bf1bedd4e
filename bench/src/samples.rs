//! Samples of one figure.

use serde_json::{Value, json};

/// One sample for each round, in their order; `None` where the attempt failed.
#[derive(Clone, Debug, Default)]
pub struct Samples(pub Vec<Option<f64>>);

impl Samples {
    /// A figure that is measured once.
    pub fn once(sample: f64) -> Self {
        Self(vec![Some(sample)])
    }

    /// What was measured, without the failures.
    pub fn taken(&self) -> Vec<f64> {
        self.0.iter().copied().flatten().collect()
    }

    /// How many there are, and of how many rounds where some failed: `7/10`.
    pub fn rounds(&self) -> String {
        let (taken, rounds) = (self.taken().len(), self.0.len());
        if taken == rounds {
            rounds.to_string()
        } else {
            format!("{taken}/{rounds}")
        }
    }

    /// The value below which the fraction `q` of the samples lies (nearest rank); `None` without samples.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let mut sorted = self.taken();
        sorted.sort_by(f64::total_cmp);
        // A handful of samples: the rank is exact.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )]
        let rank = (q * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).or(sorted.last()).copied()
    }

    /// The middle sample.
    pub fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }

    /// Round by round, this by `other`; a round in which one of them failed has none.
    pub fn ratio(&self, other: &Self) -> Self {
        Self(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(one, two)| divided(*one, *two))
                .collect(),
        )
    }

    /// Round by round, this less `other`; a round in which one of them failed has none.
    pub fn difference(&self, other: &Self) -> Self {
        let pairs = self.0.iter().zip(&other.0);
        Self(
            pairs
                .map(|(one, two)| one.zip(*two).map(|(one, two)| one - two))
                .collect(),
        )
    }

    /// With its quantiles; `null` for what is not there.
    pub fn json(&self) -> Value {
        json!({
            "samples": self.0,
            "p50": self.quantile(0.5),
            "p95": self.quantile(0.95),
            "p99": self.quantile(0.99),
        })
    }
}

/// `one` by `two`, where both were measured.
pub fn divided(one: Option<f64>, two: Option<f64>) -> Option<f64> {
    one.zip(two).map(|(one, two)| one / two)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let samples = Samples((1..=100).rev().map(f64::from).map(Some).collect());
        assert_eq!(
            [0.5, 0.99, 1.0].map(|q| samples.quantile(q)),
            [Some(50.0), Some(99.0), Some(100.0)]
        );
    }

    #[test]
    fn failures_are_no_samples() {
        let samples = Samples(vec![None, Some(4.0), None]);
        assert_eq!((samples.median(), samples.taken()), (Some(4.0), vec![4.0]));
        assert_eq!(samples.rounds(), "1/3");
        assert_eq!(Samples::once(4.0).rounds(), "1");
        for samples in [Samples::default(), Samples(vec![None])] {
            assert_eq!(samples.median(), None);
            assert!(samples.json()["p50"].is_null());
        }
    }

    #[test]
    fn ratios_are_of_one_round() {
        let ours = Samples(vec![Some(2.0), None, Some(9.0), Some(1.0)]);
        let theirs = Samples(vec![Some(1.0), Some(5.0), Some(3.0), None]);
        assert_eq!(ours.ratio(&theirs).0, [Some(2.0), None, Some(3.0), None]);
        assert_eq!(
            ours.difference(&theirs).0,
            [Some(1.0), None, Some(6.0), None]
        );
    }
}
