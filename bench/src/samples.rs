//! Samples of one figure.

use serde_json::{Value, json};

/// Samples in the order they were taken.
#[derive(Clone, Debug, Default)]
pub struct Samples(pub Vec<f64>);

impl Samples {
    /// The value below which the fraction `q` of the samples lies (nearest rank); 0 without samples.
    pub fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        // A handful of samples: the rank is exact.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )]
        let rank = (q * sorted.len() as f64).ceil() as usize;
        sorted
            .get(rank.max(1) - 1)
            .or(sorted.last())
            .copied()
            .unwrap_or(0.0)
    }

    /// The middle sample.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Pair by pair, this by `other`.
    pub fn ratio(&self, other: &Self) -> Self {
        Self(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(one, two)| one / two)
                .collect(),
        )
    }

    /// With its quantiles.
    pub fn json(&self) -> Value {
        json!({
            "samples": self.0,
            "p50": self.quantile(0.5),
            "p95": self.quantile(0.95),
            "p99": self.quantile(0.99),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let samples = Samples((1..=100).rev().map(f64::from).collect());
        assert_eq!(
            (
                samples.median(),
                samples.quantile(0.99),
                samples.quantile(1.0)
            ),
            (50.0, 99.0, 100.0)
        );
        assert!(Samples::default().median().abs() < f64::EPSILON);
    }

    #[test]
    fn ratios_are_pairwise() {
        let ratio = Samples(vec![2.0, 9.0]).ratio(&Samples(vec![1.0, 3.0]));
        assert_eq!(ratio.0, [2.0, 3.0]);
    }
}
