//! The error model between processes: a kind that programs act on, a message and a hint for people.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::Chain;

/// Metadata key that carries [`Error::hint`]; `-bin` because a hint may hold any UTF-8.
const HINT_KEY: &str = "container-hint-bin";

/// Metadata key that carries [`Error::volume`].
const VOLUME_KEY: &str = "container-volume-bin";

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

/// What failed, as this process knows it: a chain of causes under what a program acts on. On its way to another process
/// ([`Status`]) the chain becomes one message.
///
/// `{}` writes the outermost link alone, as of any error; `{:#}`, which the log takes, and [`Error::message`] write all of them.
#[derive(Clone, Debug)]
pub struct Error {
    /// What a program acts on.
    pub kind: Kind,
    /// The outermost link of the chain; the others are its sources.
    cause: Arc<dyn StdError + Send + Sync>,
    /// What the user can do about it.
    pub hint: Option<String>,
    /// The volume that somebody else has, where it is for that.
    pub volume: Option<String>,
}

/// A link that has no type of its own.
#[derive(Debug)]
struct Link {
    words: String,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl StdError for Link {
    // Written by hand: a derived one gives the `Arc` as the source, which nobody can downcast.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let cause = self.cause.as_deref()?;
        Some(cause)
    }
}

impl Error {
    /// An error without a cause and without a hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self::caused(
            kind,
            Link {
                words: message.into(),
                cause: None,
            },
        )
    }

    /// An error of `kind` that `cause` and its sources tell of; without a hint.
    pub fn caused(kind: Kind, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self {
            kind,
            cause: Arc::from(cause.into()),
            hint: None,
            volume: None,
        }
    }

    /// What a guest's `status` says, on one line and of bounded length: whoever wrote it may have meant it to look like words
    /// of ours. It has no hints to give.
    pub fn of_guest(status: Status) -> Self {
        let error = Self::from(status);
        let mut shown = String::new();
        for character in error.message().chars().take(GUEST_LIMIT) {
            if character.is_control() {
                shown.extend(character.escape_default());
            } else {
                shown.push(character);
            }
        }
        Self::new(error.kind, shown)
    }

    /// The whole chain as one message.
    pub fn message(&self) -> String {
        Chain(&*self.cause).to_string()
    }

    /// The outermost link: the error that [`Error::caused`] was given, or what was put before it.
    pub fn cause(&self) -> &(dyn StdError + 'static) {
        &*self.cause
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, of the volume `name`, which somebody else has.
    #[must_use]
    pub fn of_volume(mut self, name: impl Into<String>) -> Self {
        self.volume = Some(name.into());
        self
    }

    /// The same with the operation that failed as a further link before the others.
    #[must_use]
    pub fn context(mut self, operation: impl fmt::Display) -> Self {
        self.cause = Arc::new(Link {
            words: operation.to_string(),
            cause: Some(self.cause),
        });
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            fmt::Display::fmt(&Chain(&*self.cause), f)
        } else {
            fmt::Display::fmt(&self.cause, f)
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.source()
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut status = Self::new(error.kind.code(), error.message());
        for (key, text) in [(HINT_KEY, error.hint), (VOLUME_KEY, error.volume)] {
            if let Some(text) = text {
                let value = MetadataValue::from_bytes(text.as_bytes());
                status.metadata_mut().insert_bin(key, value);
            }
        }
        status
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let carried = |key| {
            let bytes = status.metadata().get_bin(key)?.to_bytes().ok()?;
            String::from_utf8(bytes.to_vec()).ok()
        };
        let (hint, volume) = (carried(HINT_KEY), carried(VOLUME_KEY));
        // A lost connection reaches tonic as Unknown or Cancelled with a transport error behind it.
        let transport = StdError::source(&status).is_some_and(|source| {
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
                "the running service does not know this call: it has another version",
            )
            .with_hint("Start it again: `container system stop` and `container system start`.");
        }
        // The transport's own words tell nobody what has happened.
        let message = match status.message() {
            "transport error" if transport => "the process that was asked is gone",
            message => message,
        };
        let error = Self::new(kind, message);
        Self {
            hint,
            volume,
            ..error
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why a thing cannot be opened.
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

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
            let error = error.of_volume("v");
            let arrived = Error::from(Status::from(error));
            assert_eq!(arrived.kind, kind);
            assert_eq!(arrived.message(), "what happened");
            assert_eq!(arrived.hint.as_deref(), Some("do é this"));
            assert_eq!(arrived.volume.as_deref(), Some("v"));
        }
    }

    #[test]
    fn a_chain_is_whole_inside_and_one_message_on_the_wire() {
        let refused = std::io::Error::from_raw_os_error(13);
        let error = Error::caused(Kind::PermissionDenied, Outer(refused))
            .with_hint("ask")
            .context("open a thing")
            .context("start c1");
        // Each link has its own words only.
        let mut links = vec![error.to_string()];
        let mut source = error.source();
        while let Some(link) = source {
            links.push(link.to_string());
            source = link.source();
        }
        let refused = "Permission denied (os error 13)";
        assert_eq!(links, ["start c1", "open a thing", "outer", refused]);
        // What it was is still known.
        let mut source = Some(error.cause());
        let cause = loop {
            let link = source.expect("it is a link of the chain");
            if let Some(outer) = link.downcast_ref::<Outer>() {
                break outer;
            }
            source = link.source();
        };
        assert_eq!(cause.0.kind(), std::io::ErrorKind::PermissionDenied);

        let status = Status::from(error.clone());
        let message = "start c1: open a thing: outer: Permission denied";
        assert_eq!(status.message(), message);
        assert_eq!(
            (&*error.message(), &*format!("{error:#}")),
            (message, message)
        );
        let arrived = Error::from(status);
        assert_eq!(
            (arrived.kind, arrived.hint.as_deref()),
            (Kind::PermissionDenied, Some("ask"))
        );
        assert_eq!(
            (arrived.message(), arrived.source().is_none()),
            (message.into(), true)
        );
    }

    #[test]
    fn a_process_that_is_gone_is_told_as_that() {
        let mut status = Status::unknown("transport error");
        assert_eq!(Error::from(status.clone()).message(), "transport error");
        status.set_source(Arc::new(std::io::Error::other("reset")));
        let error = Error::from(status).context("start c1");
        assert_eq!(error.kind, Kind::Unavailable);
        let message = "start c1: the process that was asked is gone";
        assert_eq!(error.message(), message);
    }

    #[test]
    fn an_error_that_causes_another_is_told_once() {
        let inner = Error::new(Kind::NotFound, "inner").context("middle");
        let outer = Error::caused(Kind::Internal, inner).context("outer");
        assert_eq!(outer.message(), "outer: middle: inner");
        let inner = outer.cause().source().unwrap();
        assert_eq!(inner.downcast_ref::<Error>().unwrap().kind, Kind::NotFound);
    }

    #[test]
    fn a_guest_s_words_stay_on_their_line() {
        let text = format!(
            "no such file\nError: pay here\u{1b}[2J{}",
            "x".repeat(100_000)
        );
        let error = Error::new(Kind::NotFound, text).context("start");
        let error = Error::of_guest(error.with_hint("run this").into());
        assert_eq!((error.kind, error.hint.as_ref()), (Kind::NotFound, None));
        let message = error.message();
        assert!(message.starts_with("start: no such file\\nError: pay here\\u{1b}[2J"));
        assert!(message.len() < 2000);
    }

    #[test]
    fn a_call_that_the_service_does_not_know_is_told() {
        let error = Error::from(Status::unimplemented(""));
        assert!(error.message().contains("another version"), "{error:?}");
        assert!(error.hint.is_some());
        let told = Error::from(Status::unimplemented("no such thing here"));
        assert_eq!(told.message(), "no such thing here");
    }
}
