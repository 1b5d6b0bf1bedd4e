//! Errors of registries.

use container_resource::digest::Digest;
use rustls::pki_types::InvalidDnsNameError;

use super::causes;
use super::hosts::ConfigurationError;
use super::resolver::{RefusedName, Unresolved};

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
    /// The host's name means no address.
    #[error("{host} cannot be resolved: {reason}")]
    Unresolved {
        /// Host and port.
        host: String,
        /// What the resolver says.
        reason: String,
    },
    /// Neither the registry nor what was asked in its place.
    #[error("{before} did not help")]
    Everywhere {
        /// What was asked before, with what came of it.
        before: String,
        /// What the last one, the registry itself, answered.
        source: Box<RegistryError>,
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
    /// A name leads to where it must not be followed.
    #[error("{host} is not asked: {refused}")]
    RefusedName {
        /// Host and port.
        host: String,
        /// Where it leads.
        refused: String,
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
    /// The configuration of a registry's host cannot be used.
    #[error("the configuration {path} of a registry cannot be used")]
    Configuration {
        /// Its file.
        path: String,
        /// Why.
        source: ConfigurationError,
    },
    /// Certificates or proxies cannot be set up.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
    /// Credentials cannot be read or stored.
    #[error(transparent)]
    Credentials(#[from] super::credentials::CredentialError),
}

impl RegistryError {
    /// No answer of `host`.
    pub(super) fn unreachable(host: String, error: reqwest::Error) -> Self {
        if let Some(refused) = causes::find::<RefusedName>(&error) {
            let refused = refused.to_string();
            return Self::RefusedName { host, refused };
        }
        // TLS looks at a name before the resolver does.
        let invalid = causes::find::<InvalidDnsNameError>(&error).map(ToString::to_string);
        let reason = causes::find::<Unresolved>(&error).map(|error| error.0.to_string());
        if let Some(reason) = reason.or(invalid) {
            let reason = reason.trim_start_matches("failed to lookup address information: ");
            return Self::Unresolved {
                host,
                reason: reason.to_owned(),
            };
        }
        Self::Unreachable {
            host,
            source: error.without_url(),
        }
    }

    /// Whether another try may help.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            // Who takes no connection for so long won't take the next one.
            Self::Unreachable { source, .. } => {
                let is_silent = source.is_connect() && source.is_timeout();
                !source.is_builder() && !is_silent && !is_certificate(source)
            }
            Self::Status { status, .. } => {
                matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
            }
            _ => false,
        }
    }
}

/// A certificate that is not trusted will not be next time either.
fn is_certificate(error: &reqwest::Error) -> bool {
    matches!(
        causes::find(error),
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)
    )
}
