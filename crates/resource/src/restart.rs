//! When a container is started again by itself: `--restart <policy>`.

use crate::container::RestartPolicy;

/// Not a restart policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid restart policy '{0}': no, on-failure[:<retries>], always or unless-stopped is expected"
)]
pub struct RestartError(String);

/// `no`, `on-failure[:<retries>]`, `always` or `unless-stopped`. As with Docker an empty text is `no`, and 0 retries are
/// no bound.
///
/// # Errors
/// When it is none of them, or the number of retries is none.
pub fn parse(text: &str) -> Result<RestartPolicy, RestartError> {
    let invalid = || RestartError(text.to_owned());
    match text.split_once(':') {
        None => match text {
            "" | "no" => Ok(RestartPolicy::No {}),
            "on-failure" => Ok(RestartPolicy::OnFailure { retries: None }),
            "always" => Ok(RestartPolicy::Always {}),
            "unless-stopped" => Ok(RestartPolicy::UnlessStopped {}),
            _ => Err(invalid()),
        },
        Some(("on-failure", retries)) => {
            let retries = retries.parse().map_err(|_| invalid())?;
            Ok(RestartPolicy::OnFailure {
                retries: Some(retries).filter(|retries| *retries > 0),
            })
        }
        Some(_) => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        assert_eq!(parse("no"), Ok(RestartPolicy::No {}));
        assert_eq!(
            parse("on-failure"),
            Ok(RestartPolicy::OnFailure { retries: None })
        );
        assert_eq!(
            parse("on-failure:3"),
            Ok(RestartPolicy::OnFailure { retries: Some(3) })
        );
        assert_eq!(
            parse("on-failure:0"),
            Ok(RestartPolicy::OnFailure { retries: None })
        );
        assert_eq!(parse(""), Ok(RestartPolicy::No {}));
        assert_eq!(parse("always"), Ok(RestartPolicy::Always {}));
        assert_eq!(parse("unless-stopped"), Ok(RestartPolicy::UnlessStopped {}));
    }

    #[test]
    fn what_is_none() {
        for text in ["yes", "Always", "always:3", "on-failure:", "on-failure:-1"] {
            assert_eq!(parse(text), Err(RestartError(text.into())));
        }
    }
}
