//! Health checks, as the image and the flags describe them.

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer};

use crate::container::HealthCheck;
use crate::image_settings::texts;

/// Between checks, and for each of them, unless something else is said (Docker's defaults).
const DEFAULT_TIME: Duration = Duration::from_secs(30);
/// Failures in a row that make a container unhealthy.
const DEFAULT_RETRIES: u32 = 3;
/// The longest time that can be asked for.
const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The `Healthcheck` of an image configuration (Docker image specification 1.2). Times are nanoseconds; what is not above
/// 0, or missing, means that nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageHealth {
    /// `["CMD", word…]`, `["CMD-SHELL", line, word…]`, or `["NONE"]`.
    #[serde(deserialize_with = "texts")]
    pub test: Vec<String>,
    /// Between checks.
    #[serde(deserialize_with = "not_negative")]
    pub interval: u64,
    /// For one check.
    #[serde(deserialize_with = "not_negative")]
    pub timeout: u64,
    /// In which failures do not count.
    #[serde(deserialize_with = "not_negative")]
    pub start_period: u64,
    /// Failures in a row.
    #[serde(deserialize_with = "not_negative")]
    pub retries: u64,
}

/// What the flags say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthOptions {
    /// No check, whatever the image says.
    pub disabled: bool,
    /// A line for the container's shell.
    pub command: Option<String>,
    /// Between checks.
    pub interval: Option<Duration>,
    /// For one check.
    pub timeout: Option<Duration>,
    /// In which failures do not count.
    pub start_period: Option<Duration>,
    /// Failures in a row.
    pub retries: Option<u32>,
}

/// Tools write all kinds of numbers; one that is negative, has a fraction or is null is no reason to refuse the image.
fn not_negative<'de, D: Deserializer<'de>>(source: D) -> Result<u64, D::Error> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float to an integer ends at the bounds, and is 0 for no number"
    )]
    let whole = |number: &serde_json::Number| {
        number
            .as_u64()
            .or_else(|| number.as_f64().map(|float| float as u64))
    };
    match serde_json::Value::deserialize(source)? {
        serde_json::Value::Number(number) => Ok(whole(&number).unwrap_or(0)),
        _ => Ok(0),
    }
}

/// Not a time for a health check.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a time from 1ms to 24h, such as 30s or 1m30s, or 0 for the default")]
pub struct TimeError(String);

/// A time such as `30s`, `1m30s` or `500ms`, from 1 ms to 24 h; as with Docker 0 says nothing.
///
/// # Errors
/// When it is malformed or out of range.
pub fn parse_time(text: &str) -> Result<Duration, TimeError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|time| Duration::try_from(time).ok())
        .filter(|time| time.is_zero() || (Duration::from_millis(1)..=MAX_TIME).contains(time))
        .ok_or_else(|| TimeError(text.to_owned()))
}

impl HealthOptions {
    /// The check of a container whose image says `image` and has lines run by `shell`; `None` when neither side
    /// describes one, or one side says that there is none.
    pub fn check(&self, image: Option<&ImageHealth>, shell: &[String]) -> Option<HealthCheck> {
        let inherited = image
            .map(|image| image.test.clone())
            .filter(|test| !test.is_empty());
        let test = match &self.command {
            _ if self.disabled => return None,
            Some(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
            None => inherited?,
        };
        if test.first().is_some_and(|kind| kind == "NONE") {
            return None;
        }
        let time = |given: Option<Duration>, image_ns: Option<u64>, default: Duration| {
            let image = image_ns.filter(|time| *time > 0).map(Duration::from_nanos);
            let given = given.filter(|time| !time.is_zero());
            let time = given.or(image).unwrap_or(default).min(MAX_TIME);
            // At most a day of milliseconds.
            u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
        };
        let inherited = image.map(|image| u32::try_from(image.retries).unwrap_or(u32::MAX));
        let retries = [self.retries, inherited]
            .into_iter()
            .flatten()
            .find(|retries| *retries > 0);
        Some(HealthCheck {
            test,
            shell: shell.to_vec(),
            interval_ms: time(
                self.interval,
                image.map(|image| image.interval),
                DEFAULT_TIME,
            ),
            timeout_ms: time(self.timeout, image.map(|image| image.timeout), DEFAULT_TIME),
            start_period_ms: time(
                self.start_period,
                image.map(|image| image.start_period),
                Duration::ZERO,
            ),
            retries: retries.unwrap_or(DEFAULT_RETRIES),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(test: &[&str]) -> ImageHealth {
        let test = test.iter().map(|&word| word.to_owned()).collect();
        ImageHealth {
            test,
            interval: 5_000_000_000,
            ..ImageHealth::default()
        }
    }

    #[test]
    fn the_image_s_check_with_defaults() {
        let check = HealthOptions::default()
            .check(Some(&image(&["CMD", "true"])), &[])
            .unwrap();
        let expected = HealthCheck {
            test: vec!["CMD".into(), "true".into()],
            shell: Vec::new(),
            interval_ms: 5_000,
            timeout_ms: 30_000,
            start_period_ms: 0,
            retries: 3,
        };
        assert_eq!(check, expected);
    }

    #[test]
    fn flags_stand_above_the_image() {
        let options = HealthOptions {
            command: Some("test -e /ok".into()),
            interval: Some(Duration::from_secs(1)),
            retries: Some(7),
            ..HealthOptions::default()
        };
        let shell = ["/bin/ash".to_owned(), "-c".to_owned()];
        let check = options
            .check(Some(&image(&["CMD", "true"])), &shell)
            .unwrap();
        assert_eq!(check.shell, shell);
        assert_eq!(check.test, ["CMD-SHELL", "test -e /ok"]);
        assert_eq!(check.shell, ["/bin/ash", "-c"]);
        assert_eq!((check.interval_ms, check.retries), (1000, 7));
    }

    #[test]
    fn zero_says_nothing() {
        let options = HealthOptions {
            interval: Some(Duration::ZERO),
            timeout: Some(Duration::ZERO),
            start_period: Some(Duration::ZERO),
            retries: Some(0),
            ..HealthOptions::default()
        };
        let image = image(&["CMD", "true"]);
        assert_eq!(
            options.check(Some(&image), &[]),
            HealthOptions::default().check(Some(&image), &[])
        );
    }

    #[test]
    fn odd_numbers_of_an_image_are_read() {
        let text = r#"{"Test": ["CMD", "true"], "Interval": -5, "Timeout": 1.5e9, "StartPeriod": null, "Retries": -1}"#;
        let image: ImageHealth = serde_json::from_str(text).unwrap();
        let check = HealthOptions::default().check(Some(&image), &[]).unwrap();
        assert_eq!(
            (check.interval_ms, check.timeout_ms, check.start_period_ms),
            (30_000, 1500, 0)
        );
        assert_eq!(check.retries, 3);
    }

    #[test]
    fn no_check() {
        assert_eq!(HealthOptions::default().check(None, &[]), None);
        assert_eq!(HealthOptions::default().check(Some(&image(&[])), &[]), None);
        assert_eq!(
            HealthOptions::default().check(Some(&image(&["NONE"])), &[]),
            None
        );
        let disabled = HealthOptions {
            disabled: true,
            ..HealthOptions::default()
        };
        assert_eq!(disabled.check(Some(&image(&["CMD", "true"])), &[]), None);
    }

    #[test]
    fn times() {
        assert_eq!(parse_time("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("0"), Ok(Duration::ZERO));
        assert_eq!(parse_time("0s"), Ok(Duration::ZERO));
        for text in ["", "5", "1us", "-1s", "25h", "soon"] {
            assert_eq!(parse_time(text), Err(TimeError(text.into())));
        }
    }
}
