//! How a command fails: its message and its exit code (as Apple's container has it).

use std::io;

use container_api::{Error, Kind, chain};

use crate::output;

/// Wrong usage, as `sysexits.h` numbers it.
pub const USAGE: u8 = 64;
/// What a shell sees of a process that died of SIGPIPE.
const BROKEN_PIPE: u8 = 141;
/// The hint when the services do not run.
const START_HINT: &str =
    "Ensure container system service has been started with `container system start`.";

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// The command line itself is wrong.
    Usage(String),
    /// The system refused or failed.
    Service(Error),
    /// Something on this side failed.
    Local(anyhow::Error),
    /// Several things were asked for, and these of them failed.
    Several(Vec<Failure>),
    /// The reader of the output has gone: there is no message.
    BrokenPipe,
    /// Everything is told already; this is the exit code.
    Exit(u8),
}

impl Failure {
    /// Wrong usage.
    pub fn usage(error: impl std::fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }

    /// Wrong usage, told by `error` and its causes.
    pub fn usage_chain(error: impl Into<anyhow::Error>) -> Self {
        Self::Usage(format!("{:#}", error.into()))
    }

    /// No server listens at its socket.
    pub fn not_running(error: &io::Error) -> Self {
        let message = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                "the container system service is not running".to_owned()
            }
            _ => format!("cannot connect to the container system service: {error}"),
        };
        Self::Service(Error::new(Kind::Unavailable, message).with_hint(START_HINT))
    }

    /// `Ok` without failures, the failure itself for one, all of them for more.
    pub fn gather(mut failures: Vec<Self>) -> Result<(), Self> {
        match failures.len() {
            0 => Ok(()),
            1 => Err(failures.remove(0)),
            _ => Err(Self::Several(failures)),
        }
    }

    /// What a program can act on, where the system answered.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::Service(error) => Some(error.kind),
            _ => None,
        }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Service(_) | Self::Local(_) | Self::Several(_) => 1,
            Self::BrokenPipe => BROKEN_PIPE,
            Self::Exit(code) => *code,
        }
    }

    /// Tells it on standard error: the chain once, then what can be done. What the system says may hold the words of
    /// a guest, an image or a registry, so it is one line; what this side says may have several.
    pub fn report(&self) {
        match self {
            Self::Usage(message) => {
                for line in format!("Error: {}", words(message)).lines() {
                    output::tell(line);
                }
            }
            Self::Service(error) => {
                output::tell(format_args!("Error: {}", words(&error.message())));
                if let Some(hint) = &error.hint {
                    output::tell(hint);
                }
            }
            Self::Local(error) => {
                output::tell_lines(format_args!("Error: {}", words(&format!("{error:#}"))));
            }
            Self::Several(failures) => {
                // One cause that meets all of them is told once.
                let mut told: Vec<String> = Vec::new();
                for failure in failures {
                    let text = format!("{failure:?}");
                    if !told.contains(&text) {
                        failure.report();
                        told.push(text);
                    }
                }
            }
            Self::BrokenPipe | Self::Exit(_) => {}
        }
    }
}

/// A message as people read it.
fn words(message: &str) -> String {
    chain::without_numbers(message)
}

/// Whether the connection broke. What a server says itself has no source: it comes as a code and a message.
pub fn is_lost(status: &tonic::Status) -> bool {
    std::error::Error::source(status).is_some()
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        let lost = is_lost(&status);
        let error = Error::from(status);
        Self::Service(if lost {
            // How it broke is nothing that a user could do anything with.
            Error::new(error.kind, "the container system service went away").with_hint(START_HINT)
        } else {
            error
        })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Service(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Local(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Local(
            anyhow::Error::new(error)
                .context("the container system service gave an answer that cannot be read"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes() {
        let service = Failure::from(Error::new(Kind::NotFound, "x"));
        assert_eq!(Failure::usage("x").code(), 64);
        assert_eq!(service.code(), 1);
        assert_eq!(Failure::Exit(137).code(), 137);
        assert_eq!(Failure::BrokenPipe.code(), 128 + 13);
    }

    #[test]
    fn only_a_broken_connection_is_a_service_that_went_away() {
        let said = Failure::from(tonic::Status::unavailable("registry cannot be reached"));
        let Failure::Service(error) = said else {
            panic!("{said:?}")
        };
        assert_eq!(
            (error.message().as_str(), error.hint),
            ("registry cannot be reached", None)
        );
        let mut broken = tonic::Status::unknown("transport error");
        broken.set_source(std::sync::Arc::new(io::Error::other("reset")));
        let Failure::Service(error) = Failure::from(broken) else {
            panic!()
        };
        assert_eq!(error.hint.as_deref(), Some(START_HINT));
    }

    #[test]
    fn one_failure_stays_itself() {
        assert!(Failure::gather(Vec::new()).is_ok());
        assert!(matches!(
            Failure::gather(vec![Failure::Exit(3)]),
            Err(Failure::Exit(3))
        ));
        let two = vec![Failure::Exit(3), Failure::Exit(4)];
        assert!(matches!(Failure::gather(two), Err(Failure::Several(_))));
    }

    #[test]
    fn a_system_that_is_down_is_told_with_a_hint() {
        let failure = Failure::not_running(&io::ErrorKind::NotFound.into());
        let Failure::Service(error) = failure else {
            panic!("{failure:?}")
        };
        assert_eq!(error.kind, Kind::Unavailable);
        assert!(error.hint.unwrap().contains("`container system start`"));
    }
}
