//! Signals by name and number (`signal(7)`; the numbers of x86-64 and arm64).

/// The first real-time signal that programs may use, as glibc and musl's documentation count it.
const RTMIN: i32 = 34;
/// The last signal.
const RTMAX: i32 = 64;

const NAMES: [(&str, i32); 34] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// Neither the name nor the number of a signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid signal '{0}'")]
pub struct SignalError(String);

/// The number of a signal: `15`, `TERM`, `SIGTERM`, `sigterm`, `RTMIN+3`, `SIGRTMAX-2`; from 1 to 64.
///
/// # Errors
/// When there is no such signal.
pub fn parse(text: &str) -> Result<i32, SignalError> {
    let unknown = || SignalError(text.to_owned());
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = text.parse().map_err(|_| unknown())?;
        return if (1..=RTMAX).contains(&number) {
            Ok(number)
        } else {
            Err(unknown())
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let offset = |text: &str| match text.strip_prefix(['+', '-']) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse::<i32>().ok()
        }
        _ => None,
    };
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        match rest.starts_with('-') {
            true => None,
            false if rest.is_empty() => Some(RTMIN),
            false => offset(rest).and_then(|offset| RTMIN.checked_add(offset)),
        }
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        match rest.starts_with('+') {
            true => None,
            false if rest.is_empty() => Some(RTMAX),
            false => offset(rest).and_then(|offset| RTMAX.checked_sub(offset)),
        }
    } else {
        None
    };
    number
        .filter(|number| (RTMIN..=RTMAX).contains(number))
        .ok_or_else(unknown)
}

/// `SIGTERM` and the like; real-time signals as `SIGRTMIN+n`; else the number.
pub fn name(number: i32) -> String {
    match NAMES.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => format!("SIG{name}"),
        None if number == RTMIN => "SIGRTMIN".to_owned(),
        None if (RTMIN..=RTMAX).contains(&number) => format!("SIGRTMIN+{}", number - RTMIN),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("1", 1),
            ("64", 64),
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigkill", 9),
            ("Usr1", 10),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmax-1", 63),
        ] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
    }

    #[test]
    fn there_is_no_such_signal() {
        for text in [
            "", "0", "65", "-1", "+9", "SIG", "FOO", "RTMIN+31", "RTMIN-1", "RTMAX+1", "RTMIN+-1",
        ] {
            assert_eq!(parse(text), Err(SignalError(text.into())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_read_back(number in 1..=64_i32) {
            prop_assert_eq!(parse(&name(number)), Ok(number));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,30}|(SIG)?RTM(IN|AX)[+-][0-9]{0,14}") {
            if let Ok(number) = parse(&text) {
                prop_assert!((1..=64).contains(&number));
            }
        }
    }
}
