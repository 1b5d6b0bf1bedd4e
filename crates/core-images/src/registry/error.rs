//! What goes wrong with registries.

use container_resource::digest::Digest;

/// Why a registry did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No answer: the host, the connection or the protocol failed.
    #[error("{host} cannot be reached")]
    Unreachable {
        /// Host and port.
        host: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The answer is an error.
    #[error("{host} answered {status}{detail}")]
    Status {
        /// Host and port.
        host: String,
        /// HTTP status.
        status: reqwest::StatusCode,
        /// What the registry says, after a colon; may be empty.
        detail: String,
    },
    /// The thing is not there.
    #[error("{what} was not found at {host}{detail}")]
    NotFound {
        /// Host and port.
        host: String,
        /// A manifest or a blob.
        what: String,
        /// What the registry says, after a colon; may be empty.
        detail: String,
    },
    /// Credentials are missing or wrong.
    #[error("{host} denies access{detail}")]
    Denied {
        /// Host and port.
        host: String,
        /// What the registry says, after a colon; may be empty.
        detail: String,
    },
    /// The answer does not follow the protocol.
    #[error("{host} gave an answer that cannot be used: {reason}")]
    Protocol {
        /// Host and port.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer leads to where it must not be followed.
    #[error("{host} refers to {target}, which is refused: {reason}")]
    Refused {
        /// Host and port.
        host: String,
        /// Where it leads, without a query.
        target: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// The content is not what its digest says.
    #[error("{host} gave content with the digest {found} where {expected} was asked for")]
    Mismatch {
        /// Host and port.
        host: String,
        /// As asked for.
        expected: Digest,
        /// In fact.
        found: Digest,
    },
    /// The stream stalls or breaks too often.
    #[error("the download of {digest} from {host} was given up after {bytes} bytes: {reason}")]
    GivenUp {
        /// Host and port.
        host: String,
        /// Of the blob.
        digest: Digest,
        /// Received.
        bytes: u64,
        /// What happened last.
        reason: String,
    },
    /// The configuration of a registry's host can't be used.
    #[error("the configuration {path} of a registry cannot be used: {reason}")]
    Configuration {
        /// Its file.
        path: String,
        /// Why.
        reason: String,
    },
    /// Certificates or proxies can't be set up.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
    /// Credentials can't be read or stored.
    #[error(transparent)]
    Credentials(#[from] super::credentials::CredentialError),
}

impl RegistryError {
    /// Whether another try may help.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => !source.is_builder() && !is_certificate(source),
            Self::Status { status, .. } => {
                matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
            }
            _ => false,
        }
    }
}

/// A certificate that is not trusted won't be next time either.
fn is_certificate(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.is::<rustls::Error>() || cause.to_string().contains("certificate") {
            return true;
        }
        source = cause.source();
    }
    false
}
