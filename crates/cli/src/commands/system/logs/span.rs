use std::time::Duration;

/// How far to go back.
pub fn parse(text: &str) -> Result<Duration, String> {
    let invalid =
        || "invalid --last value: a number above 0 and perhaps m, h or d is expected".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(invalid()),
    };
    // Four centuries are enough, and any time minus them is one.
    let limit = 400 * 366 * 24 * 60 * 60;
    let number: u64 = digits.parse().map_err(|_| invalid())?;
    match number.checked_mul(seconds) {
        Some(seconds) if (1..=limit).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        assert_eq!(parse("30"), Ok(Duration::from_secs(30)));
        assert_eq!(parse("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse("2d"), Ok(Duration::from_secs(172_800)));
        for text in ["", "0", "0m", "m", "-1", "1w", "1.5h", "99999999999999d"] {
            assert!(
                parse(text).unwrap_err().starts_with("invalid --last value"),
                "{text}"
            );
        }
    }
}
