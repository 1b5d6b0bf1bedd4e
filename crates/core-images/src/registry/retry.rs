//! When to ask again, and how long to wait before.

use std::time::Duration;

/// Bounds of repeated requests.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Most requests for one thing without progress in between.
    pub attempts: u32,
    /// Before the second request; doubled for each further one.
    pub first_wait: Duration,
    /// The longest wait, whatever the registry asks for.
    pub longest_wait: Duration,
    /// How long a body may bring nothing.
    pub stall: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(30),
            stall: Duration::from_secs(30),
        }
    }
}

impl Retry {
    /// The wait after the failed request number `attempt` (from 1); `None`: give up. A registry that asks for
    /// a wait by `Retry-After` gets it, up to the longest.
    pub(super) fn wait(&self, attempt: u32, asked: Option<Duration>) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let doubled = self.first_wait.saturating_mul(1 << (attempt - 1).min(16));
        let spread = doubled.mul_f64(0.75 + 0.5 * random());
        Some(asked.unwrap_or(spread).min(self.longest_wait))
    }
}

/// 0 to 1, so that many clients don't come back at once.
fn random() -> f64 {
    let bits = uuid::Uuid::new_v4().as_bytes()[0];
    f64::from(bits) / 255.0
}

/// The wait in a `Retry-After` header: seconds, or a date (RFC 9110 section 10.2.3).
pub(super) fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value.trim()).ok()?;
    let left = date.timestamp().duration_since(jiff::Timestamp::now());
    Some(Duration::try_from(left).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let retry = Retry::default();
        let waits: Vec<_> = (1..=5).map(|attempt| retry.wait(attempt, None)).collect();
        assert!(waits[0].unwrap() < waits[2].unwrap());
        assert_eq!(waits[4], None);
        let asked = Some(Duration::from_secs(3));
        assert_eq!(retry.wait(1, asked), asked);
        let much = Some(Duration::from_secs(86_400));
        assert_eq!(retry.wait(1, much), Some(retry.longest_wait));
    }

    #[test]
    fn retry_after_in_both_forms() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            retry_after("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::ZERO)
        );
        assert_eq!(retry_after("soon"), None);
    }
}
