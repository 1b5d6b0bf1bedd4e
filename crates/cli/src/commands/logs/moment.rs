//! The ways in which users name a time.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A time, or a time ago.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Some(time) = seconds(text) {
        return Ok(time);
    }
    // A day, or a time without a zone: the user's.
    if let Ok(local) = text.parse::<DateTime>() {
        return TimeZone::system()
            .to_timestamp(local)
            .map_err(|error| error.to_string());
    }
    let invalid =
        || "a time such as 2026-01-31T12:00:00Z, or a span such as 10m, is expected".to_owned();
    let span: SignedDuration = text.parse().map_err(|_| invalid())?;
    Timestamp::now().checked_sub(span).map_err(|_| invalid())
}

/// Seconds since the epoch, perhaps with a fraction.
fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}").parse().ok()?;
    Timestamp::new(whole.parse().ok()?, nanoseconds).ok()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn times_and_spans() {
        assert_eq!(parse("1").unwrap().as_second(), 1);
        assert!(parse("10m").unwrap() < Timestamp::now());
        assert_eq!(parse("1.05").unwrap().as_nanosecond(), 1_050_000_000);
        for text in ["2026-01-31", "2026-01-31 00:00", "2026-01-31T00:00:00"] {
            let local = parse(text).unwrap().to_zoned(TimeZone::system());
            assert_eq!(local.datetime(), date(2026, 1, 31).at(0, 0, 0, 0));
        }
        for text in [
            "",
            ".",
            "1.0000000001",
            "-1.5",
            "1.-5",
            "yesterday",
            "2026-13-01",
            "10x",
            "99999999999999999999h",
            "99999999999999999999",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
