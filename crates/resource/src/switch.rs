//! Switches: the optional value of a flag (`--rm=false`).

/// Not a switch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("true or false is expected")]
pub struct SwitchError;

/// `true` or `false`, in the spellings that Docker takes (Go's `strconv.ParseBool`).
///
/// # Errors
/// When it is neither.
pub fn parse(text: &str) -> Result<bool, SwitchError> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(SwitchError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for text in ["1", "t", "TRUE", "True", "true"] {
            assert_eq!(parse(text), Ok(true));
        }
        for text in ["0", "F", "false", "False"] {
            assert_eq!(parse(text), Ok(false));
        }
        for text in ["", "yes", "tRUE", "2", " true"] {
            assert_eq!(parse(text), Err(SwitchError), "{text:?}");
        }
    }
}
