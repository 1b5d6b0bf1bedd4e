/// The longest time in seconds that can be asked for by a number.
const LONGEST: i64 = 86_400;

/// How long a container may take to stop by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grace(u32);

impl Grace {
    /// Seconds; the largest number stands for as long as it takes.
    pub fn seconds(self) -> u32 {
        self.0
    }

    /// Milliseconds; the largest number stands for as long as it takes.
    pub fn milliseconds(self) -> u32 {
        self.0.saturating_mul(1000)
    }
}

/// Seconds from 0 to a day, or -1 for as long as it takes.
pub fn parse(text: &str) -> Result<Grace, String> {
    match text.parse() {
        Ok(-1) => Ok(Grace(u32::MAX)),
        Ok(seconds @ 0..=LONGEST) => u32::try_from(seconds)
            .map(Grace)
            .map_err(|error| error.to_string()),
        _ => Err(format!(
            "seconds from 0 to {LONGEST}, or -1 for as long as it takes, are expected"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minus_one_is_no_bound() {
        assert_eq!(parse("5").map(Grace::milliseconds), Ok(5000));
        assert_eq!(parse("0").map(Grace::seconds), Ok(0));
        assert_eq!(parse("86400").map(Grace::milliseconds), Ok(86_400_000));
        assert_eq!(parse("-1").map(Grace::milliseconds), Ok(u32::MAX));
        for text in ["", "-2", "86401", "1.5", "5s", "99999999999999999999"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
