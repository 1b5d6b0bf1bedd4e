//! The error model between processes: a kind that programs act on, a message and a hint for people.

use std::fmt;

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// Metadata key that carries [`Error::hint`]; `-bin` because a hint may hold any UTF-8.
const HINT_KEY: &str = "container-hint-bin";

/// Most characters of a message that a guest wrote.
const GUEST_LIMIT: usize = 1024;

/// What went wrong, as far as a program needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "host", derive(serde::Serialize, serde::Deserialize))]
pub enum Kind {
    /// The request itself is wrong.
    InvalidArgument,
    /// The named thing is not there.
    NotFound,
    /// The name is taken.
    Exists,
    /// The thing is not in a state that allows this.
    InvalidState,
    /// The peer gave up waiting, or nobody answered in time.
    Timeout,
    /// This build, host or image cannot do it.
    Unsupported,
    /// The caller may not.
    PermissionDenied,
    /// Disk, memory or a quota is used up.
    Exhausted,
    /// The other process cannot be reached or went away.
    Unavailable,
    /// The caller went away.
    Cancelled,
    /// Anything else; a defect or a failing host.
    Internal,
}

impl Kind {
    const fn code(self) -> Code {
        match self {
            Self::InvalidArgument => Code::InvalidArgument,
            Self::NotFound => Code::NotFound,
            Self::Exists => Code::AlreadyExists,
            Self::InvalidState => Code::FailedPrecondition,
            Self::Timeout => Code::DeadlineExceeded,
            Self::Unsupported => Code::Unimplemented,
            Self::PermissionDenied => Code::PermissionDenied,
            Self::Exhausted => Code::ResourceExhausted,
            Self::Unavailable => Code::Unavailable,
            Self::Cancelled => Code::Cancelled,
            Self::Internal => Code::Internal,
        }
    }

    const fn of(code: Code) -> Self {
        match code {
            Code::InvalidArgument | Code::OutOfRange => Self::InvalidArgument,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::Exists,
            Code::FailedPrecondition | Code::Aborted => Self::InvalidState,
            Code::DeadlineExceeded => Self::Timeout,
            Code::Unimplemented => Self::Unsupported,
            Code::PermissionDenied | Code::Unauthenticated => Self::PermissionDenied,
            Code::ResourceExhausted => Self::Exhausted,
            Code::Unavailable => Self::Unavailable,
            Code::Cancelled => Self::Cancelled,
            Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Self::Internal,
        }
    }
}

/// An error as it crosses a process boundary. The message is the whole chain, joined by `: `.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What a program acts on.
    pub kind: Kind,
    /// The chain of causes, outermost first.
    pub message: String,
    /// What the user can do about it.
    pub hint: Option<String>,
}

impl Error {
    /// An error without a hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// Joins `error` and its sources into one message.
    pub fn chain(kind: Kind, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::new(kind, without_numbers(&message))
    }

    /// What a guest's `status` says, on one line and of bounded length: whoever wrote it may have meant it to look like words
    /// of ours. It has no hints to give.
    pub fn of_guest(status: Status) -> Self {
        let Self { kind, message, .. } = Self::from(status);
        let mut shown = String::new();
        for character in message.chars().take(GUEST_LIMIT) {
            if character.is_control() {
                shown.extend(character.escape_default());
            } else {
                shown.push(character);
            }
        }
        Self::new(kind, shown)
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with the operation that failed put before the message.
    #[must_use]
    pub fn context(mut self, operation: impl fmt::Display) -> Self {
        self.message = format!("{operation}: {}", self.message);
        self
    }
}

/// An I/O error with what it is about.
#[derive(Debug, thiserror::Error)]
#[error("{subject}")]
struct About {
    subject: String,
    #[source]
    source: std::io::Error,
}

/// `error` under `subject`, the file or program that it is about: of the same kind, and with itself as the source.
pub fn about(subject: impl fmt::Display, error: std::io::Error) -> std::io::Error {
    let kind = error.kind();
    let subject = subject.to_string();
    std::io::Error::new(
        kind,
        About {
            subject,
            source: error,
        },
    )
}

/// `text` without the numbers that [`std::io::Error`] puts behind the words of the system (`(os error 2)`): the words
/// say it, and the number means nothing to most people.
pub fn without_numbers(text: &str) -> String {
    const OPEN: &str = " (os error ";
    let mut rest = text;
    let mut plain = String::with_capacity(text.len());
    while let Some(at) = rest.find(OPEN) {
        let (before, from) = rest.split_at(at);
        let number = &from[OPEN.len()..];
        plain.push_str(before);
        match number.find(|c: char| !c.is_ascii_digit()) {
            Some(end) if end > 0 && number[end..].starts_with(')') => rest = &number[end + 1..],
            _ => {
                plain.push_str(OPEN);
                rest = number;
            }
        }
    }
    plain.push_str(rest);
    plain
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut status = Self::new(error.kind.code(), error.message);
        if let Some(hint) = error.hint {
            status
                .metadata_mut()
                .insert_bin(HINT_KEY, MetadataValue::from_bytes(hint.as_bytes()));
        }
        status
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let hint = status
            .metadata()
            .get_bin(HINT_KEY)
            .and_then(|value| value.to_bytes().ok())
            .and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        // A lost connection reaches tonic as Unknown or Cancelled with a transport error behind it.
        let transport = std::error::Error::source(&status).is_some_and(|source| {
            source.is::<tonic::transport::Error>() || source.is::<std::io::Error>()
        });
        let kind = if transport {
            Kind::Unavailable
        } else {
            Kind::of(status.code())
        };
        if status.code() == Code::Unimplemented && status.message().is_empty() {
            // Said by the transport, not by the service: it has no such call.
            return Self::new(
                kind,
                "the service that runs does not know this call: it is of another version",
            )
            .with_hint("Start it again: `container system stop` and `container system start`.");
        }
        Self {
            kind,
            message: status.message().to_owned(),
            hint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_is_about_comes_before_its_cause() {
        let cause = std::io::Error::from_raw_os_error(2);
        let error = about("/nowhere/program", cause);
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        assert_eq!(
            Error::chain(Kind::Internal, &error).message,
            "/nowhere/program: No such file or directory"
        );
    }

    #[test]
    fn kind_message_and_hint_survive_the_wire() {
        for kind in [
            Kind::InvalidArgument,
            Kind::NotFound,
            Kind::Exists,
            Kind::InvalidState,
            Kind::Timeout,
            Kind::Unsupported,
            Kind::PermissionDenied,
            Kind::Exhausted,
            Kind::Unavailable,
            Kind::Cancelled,
            Kind::Internal,
        ] {
            let error = Error::new(kind, "what happened").with_hint("do é this");
            assert_eq!(Error::from(Status::from(error.clone())), error);
        }
    }

    #[test]
    fn the_numbers_of_the_system_are_left_out() {
        let absent = std::io::Error::from_raw_os_error(2);
        let error = Error::chain(Kind::Internal, &absent);
        assert_eq!(error.message, "No such file or directory");
        for (text, plain) in [
            ("open: a (os error 2): b (os error 13)", "open: a: b"),
            ("(os error 2)", "(os error 2)"),
            (" (os error )", " (os error )"),
            (" (os error 2", " (os error 2"),
            ("x (os error x) (os error 5)y", "x (os error x)y"),
        ] {
            assert_eq!(without_numbers(text), plain);
        }
    }

    #[test]
    fn a_guest_s_words_stay_on_their_line() {
        let text = format!(
            "no such file\nError: pay here\u{1b}[2J{}",
            "x".repeat(100_000)
        );
        let status = Status::from(Error::new(Kind::NotFound, text).with_hint("run this"));
        let error = Error::of_guest(status);
        assert_eq!((error.kind, error.hint), (Kind::NotFound, None));
        assert!(
            error
                .message
                .starts_with("no such file\\nError: pay here\\u{1b}[2J")
        );
        assert!(error.message.len() < 2000);
    }

    #[test]
    fn chain_names_each_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::io::Error);
        let error = Error::chain(Kind::Internal, &Outer(std::io::Error::other("inner")));
        assert_eq!(error.message, "outer: inner");
    }

    #[test]
    fn a_call_that_the_service_does_not_know_is_told() {
        let error = Error::from(Status::unimplemented(""));
        assert!(error.message.contains("another version"), "{error:?}");
        assert!(error.hint.is_some());
        let told = Error::from(Status::unimplemented("no such thing here"));
        assert_eq!(told.message, "no such thing here");
    }
}
