//! Sizes in bytes as people type and read them.

/// Bytes of one MiB.
pub const MIB: u64 = 1 << 20;
/// The least memory a container can be given, in bytes (as Apple's container has it).
pub const MINIMUM_MEMORY: u64 = 200 * MIB;

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Not a number with an optional unit.
    #[error("'{0}' is not a size (a number with an optional unit: b, k, m, g, t or p)")]
    Malformed(String),
    /// More than `u64::MAX` bytes.
    #[error("'{0}' is too large")]
    TooLarge(String),
    /// Under [`MINIMUM_MEMORY`].
    #[error("minimum memory amount allowed is 200 MiB (got {0} bytes)")]
    TooLittleMemory(u64),
}

/// A size in bytes: a decimal number, perhaps with a fraction, and a binary unit `b|k|m|g|t|p`, each also with
/// `b` or `ib` behind it, in either case. Without a unit it is bytes.
///
/// # Errors
/// When it is malformed or does not fit.
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let malformed = || SizeError::Malformed(text.to_owned());
    let trimmed = text.trim();
    let end = trimmed
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(end);
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(malformed()),
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() && fraction.len() <= 9 => (whole, fraction),
        Some(_) => return Err(malformed()),
        None => (number, ""),
    };
    // Digits only, by construction; an empty text and a second point fail to parse.
    let too_large = || SizeError::TooLarge(text.to_owned());
    if whole.is_empty() || fraction.contains('.') {
        return Err(malformed());
    }
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let mut bytes = u128::from(whole) << shift;
    if !fraction.is_empty() {
        let numerator: u64 = fraction.parse().map_err(|_| malformed())?;
        let denominator = fraction.bytes().fold(1_u128, |power, _| power * 10);
        bytes += (u128::from(numerator) << shift) / denominator;
    }
    u64::try_from(bytes).map_err(|_| too_large())
}

/// The memory of a container in bytes: whole MiB (the rest is cut off), at least [`MINIMUM_MEMORY`].
///
/// # Errors
/// As [`parse`], and when it is too little.
pub fn parse_memory(text: &str) -> Result<u64, SizeError> {
    let bytes = parse(text)?;
    if bytes < MINIMUM_MEMORY {
        return Err(SizeError::TooLittleMemory(bytes));
    }
    Ok(bytes / MIB * MIB)
}

/// Space on a disk for people, decimal as Apple's tool shows it: `Zero KB`, `512 bytes`, `1.5 MB`.
pub fn disk(bytes: u64) -> String {
    match bytes {
        0 => "Zero KB".to_owned(),
        1..1000 => format!("{bytes} bytes"),
        _ => scaled(bytes, 1000, &["KB", "MB", "GB", "TB", "PB", "EB"]),
    }
}

/// A size as a user would write it: exact, with the largest unit that makes it a whole number (`20g`, `1536m`).
pub fn exact(bytes: u64) -> String {
    let units = [("p", 50), ("t", 40), ("g", 30), ("m", 20), ("k", 10)];
    let fitting = units
        .iter()
        .find(|(_, shift)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    match fitting {
        Some((unit, shift)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

/// Memory for people, binary: `512 B`, `1.50 MiB` rounded to one digit.
pub fn memory(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    scaled(bytes, 1024, &["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

/// `bytes` in the largest of `units` (powers of `base`) that leaves at least 1, with one digit after the point
/// where that digit is not 0. `bytes` is at least `base`.
fn scaled(bytes: u64, base: u64, units: &[&str]) -> String {
    let base = u128::from(base);
    let mut unit = base;
    let mut names = units.iter();
    let mut name = names.next().copied().unwrap_or_default();
    loop {
        // Tenths, rounded half up.
        let tenths = (u128::from(bytes) * 10 + unit / 2) / unit;
        match names.next() {
            Some(next) if tenths >= base * 10 => {
                unit *= base;
                name = next;
            }
            _ if tenths % 10 == 0 => return format!("{} {name}", tenths / 10),
            _ => return format!("{}.{} {name}", tenths / 10, tenths % 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_exactly_is_read_as_the_same() {
        for (bytes, text) in [
            (0, "0"),
            (1000, "1000"),
            (1 << 10, "1k"),
            (1536 << 20, "1536m"),
            (20 << 30, "20g"),
            (256 << 40, "256t"),
        ] {
            assert_eq!(exact(bytes), text);
            assert_eq!(parse(text), Ok(bytes));
        }
    }

    #[test]
    fn units_are_binary() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("17b", 17),
            ("2k", 2048),
            ("2KiB", 2048),
            ("1.5g", 3 << 29),
            ("2048mb", 2 << 30),
            ("1 GB", 1 << 30),
            ("3T", 3 << 40),
            ("1p", 1 << 50),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "", "g", "-1", "1x", "1gg", "1.", ".5g", "1.2.3g", "1e3", "0x10", "١",
        ] {
            assert_eq!(
                parse(text),
                Err(SizeError::Malformed(text.into())),
                "{text}"
            );
        }
        for text in ["16384p", "99999999999999999999"] {
            assert_eq!(parse(text), Err(SizeError::TooLarge(text.into())));
        }
    }

    #[test]
    fn memory_is_whole_mib_and_enough() {
        assert_eq!(parse_memory("200m"), Ok(MINIMUM_MEMORY));
        assert_eq!(parse_memory("209715201"), Ok(MINIMUM_MEMORY));
        assert_eq!(
            parse_memory("199m"),
            Err(SizeError::TooLittleMemory(199 * MIB))
        );
    }

    #[test]
    fn people_read_one_digit() {
        for (bytes, text) in [
            (0, "Zero KB"),
            (999, "999 bytes"),
            (1000, "1 KB"),
            (1_549, "1.5 KB"),
            (999_999, "1 MB"),
            (12_345_678, "12.3 MB"),
        ] {
            assert_eq!(disk(bytes), text);
        }
        assert_eq!(memory(3 << 19), "1.5 MiB");
        assert_eq!(memory(u64::MAX), "16 EiB");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,24}") {
            let _ = parse(&text);
        }

        #[test]
        fn whole_numbers_scale(number in 0_u64..16_000, unit in 0_usize..6) {
            let text = format!("{number}{}", ["b", "k", "m", "g", "t", "p"][unit]);
            let shift = u32::try_from(unit).unwrap() * 10;
            prop_assert_eq!(parse(&text), Ok(number << shift));
        }
    }
}
