//! How many CPUs a container may use: `--cpus 1.5`.

/// Parts of a CPU that are told apart, as Docker's `NanoCpus`.
pub const NANO: u64 = 1_000_000_000;
/// The least: the kernel hands out no less than 1 ms of a period of 100 ms (`cpu.max`, cgroup-v2.rst).
const MINIMUM: u64 = NANO / 100;
/// The most that can be asked for. A host has its own bound.
const MAXIMUM: u64 = 1024 * NANO;
/// Digits behind the point that are told apart.
const DIGITS: usize = 9;

/// A number of CPUs, perhaps with a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpus {
    nano: u64,
}

/// Not a number of CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a number of CPUs from 0.01 to 1024, such as 2 or 1.5")]
pub struct CpusError(String);

impl Cpus {
    /// `number` whole CPUs.
    pub fn whole(number: u32) -> Self {
        Self {
            nano: u64::from(number) * NANO,
        }
    }

    /// CPUs of the machine: what is begun is whole there.
    pub fn machine(self) -> u32 {
        u32::try_from(self.nano.div_ceil(NANO)).unwrap_or(u32::MAX)
    }

    /// Billionths of a CPU, where that is not a whole number of them.
    pub fn fraction(self) -> Option<u64> {
        (self.nano % NANO != 0).then_some(self.nano)
    }
}

/// A decimal number: `2`, `1.5`, `.5`.
///
/// # Errors
/// When it is no number, or out of range.
pub fn parse(text: &str) -> Result<Cpus, CpusError> {
    let error = || CpusError(text.to_owned());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let fraction = fraction.trim_end_matches('0');
    let no_digit = !text.bytes().any(|byte| byte.is_ascii_digit());
    if no_digit || !digits(whole) || !digits(fraction) || fraction.len() > DIGITS {
        return Err(error());
    }
    let whole: u64 = match whole {
        "" => 0,
        whole => whole.parse().map_err(|_| error())?,
    };
    // At most nine digits, by the check above.
    let fraction: u64 = format!("{fraction:0<DIGITS$}")
        .parse()
        .map_err(|_| error())?;
    whole
        .checked_mul(NANO)
        .and_then(|nano| nano.checked_add(fraction))
        .filter(|nano| (MINIMUM..=MAXIMUM).contains(nano))
        .map(|nano| Cpus { nano })
        .ok_or_else(error)
}

/// A whole number of CPUs.
///
/// # Errors
/// When it is no number, or out of range.
pub fn parse_whole(text: &str) -> Result<u32, String> {
    let number = parse(text).map_err(|error| error.to_string())?;
    match number.fraction() {
        None => Ok(number.machine()),
        Some(_) => Err("a machine has whole CPUs".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_fraction_is_rounded_up_for_the_machine_and_kept_for_the_container() {
        for (text, machine, fraction) in [
            ("2", 2, None),
            ("2.0", 2, None),
            ("1.5", 2, Some(1_500_000_000)),
            (".5", 1, Some(500_000_000)),
            ("1.", 1, None),
            ("0.010", 1, Some(10_000_000)),
            ("1.000000001", 2, Some(1_000_000_001)),
            ("1024", 1024, None),
        ] {
            let cpus = parse(text).unwrap();
            assert_eq!(
                (cpus.machine(), cpus.fraction()),
                (machine, fraction),
                "{text}"
            );
        }
        assert_eq!(parse("3"), Ok(Cpus::whole(3)));
    }

    #[test]
    fn what_is_no_number_of_them() {
        for text in [
            "",
            ".",
            "0",
            "0.0",
            "0.001",
            "-1",
            "+1",
            "1025",
            "1024.5",
            "1,5",
            "1e2",
            "1/2",
            "two",
            "1.0000000001",
            "1.2.3",
            " 1",
            "١",
            "99999999999999999999",
        ] {
            assert_eq!(parse(text), Err(CpusError(text.into())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,24}|[0-9.]{0,30}") {
            if let Ok(cpus) = parse(&text) {
                prop_assert!((1..=1024).contains(&cpus.machine()));
            }
        }
    }
}
