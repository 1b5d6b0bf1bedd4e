//! A build: the request to the builder, and its outcome.

use std::collections::HashMap;
use std::time::Duration;

use bollard_buildkit_proto::google;
use bollard_buildkit_proto::moby::buildkit::v1::{
    CacheOptions, CacheOptionsEntry, Exporter, SolveRequest, StatusRequest,
};
use futures::future::{Either, select};
use prost::Message as _;
use tonic::{Code, Status, Streaming};

use crate::connection::Connection;
use crate::context::ContextError;
use crate::excerpt::{Excerpt, Source};
use crate::session::{Fault, Session, SessionError, Sources};
use crate::trace::Update;

/// The frontend that reads Dockerfiles.
const FRONTEND: &str = "dockerfile.v0";
/// How long the builder's last words are waited for, once the build has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Where caches come from or go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheEntry {
    /// `registry`, `inline`, `local` and others.
    pub kind: String,
    /// Its attributes.
    pub attributes: HashMap<String, String>,
}

/// What becomes of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// An exporter of the builder's: `oci`, `docker`, `tar`, `moby`.
    pub kind: String,
    /// Its attributes.
    pub attributes: HashMap<String, String>,
}

/// What is to be built.
#[derive(Clone, Debug, Default)]
pub struct Build {
    /// Attributes of the frontend (`docs/reference` of BuildKit's Dockerfile frontend): `target`, `build-arg:A`.
    pub attributes: HashMap<String, String>,
    /// What becomes of the result; `None`: it is built, and stays in the cache.
    pub output: Option<Output>,
    /// Rights beyond the usual ones, such as `network.host`.
    pub entitlements: Vec<String>,
    /// Caches to look into.
    pub cache_from: Vec<CacheEntry>,
    /// Caches to fill.
    pub cache_to: Vec<CacheEntry>,
}

/// What the builder says of a result.
#[derive(Clone, Debug, Default)]
pub struct Solved {
    /// By the exporter's keys, such as `containerimage.digest`.
    pub response: HashMap<String, String>,
}

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum SolveError {
    /// No session.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The context cannot be sent.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The result cannot be written on this side.
    #[error("cannot take the result")]
    Sink(#[source] std::io::Error),
    /// The build itself.
    #[error("{message}")]
    Failed {
        /// In the builder's words.
        message: String,
        /// Where in the Dockerfile.
        excerpt: Option<Excerpt>,
    },
    /// The builder died.
    #[error("the builder went away during the build")]
    Lost(#[source] Status),
}

/// Where the frontend finds the caches to look into.
const CACHES: &str = "cache-imports";

impl Build {
    /// Has it built, with what `sources` give; `tell` gets all that the builder says meanwhile. When the future is dropped, the builder gives
    /// the build up.
    ///
    /// # Errors
    /// See [`SolveError`].
    pub async fn run(
        self,
        connection: &Connection,
        sources: Sources,
        mut tell: impl FnMut(&Update),
    ) -> Result<Solved, SolveError> {
        let session = Session::open(connection, sources).await?;
        let reference = uuid::Uuid::new_v4().simple().to_string();
        let request = self.request(&reference, session.id());
        let mut solver = connection.control();
        let mut watcher = connection.control();
        let solving = async move { solver.solve(request).await };
        let watching = async {
            let request = StatusRequest { r#ref: reference };
            let mut updates: Streaming<Update> = match watcher.status(request).await {
                Ok(reply) => reply.into_inner(),
                Err(_) => return,
            };
            // Its failure is the build's, which says more.
            while let Ok(Some(update)) = updates.message().await {
                tell(&update);
            }
        };
        let watching = std::pin::pin!(watching);
        let solved = match select(std::pin::pin!(solving), watching).await {
            Either::Left((solved, watching)) => {
                let _ = tokio::time::timeout(LAST_WORDS, watching).await;
                solved
            }
            Either::Right(((), solving)) => solving.await,
        };
        match solved {
            Ok(reply) => Ok(Solved {
                response: reply.into_inner().exporter_response,
            }),
            Err(status) => Err(match session.fault() {
                Some(Fault::Context(fault)) => SolveError::Context(fault),
                Some(Fault::Sink(fault)) => SolveError::Sink(fault),
                None => failure(status),
            }),
        }
    }

    fn request(self, reference: &str, session: &str) -> SolveRequest {
        // Old builders know one result, and newer ones a list of them, in which they expect that one as well.
        let (kind, attributes) = self
            .output
            .map(|output| (output.kind, output.attributes))
            .unwrap_or_default();
        let exporters = (!kind.is_empty()).then(|| Exporter {
            r#type: kind.clone(),
            attrs: attributes.clone(),
        });
        let entries = |entries: Vec<CacheEntry>| {
            entries
                .into_iter()
                .map(|entry| CacheOptionsEntry {
                    r#type: entry.kind,
                    attrs: entry.attributes,
                })
                .collect()
        };
        let mut frontend_attrs = self.attributes;
        if !self.cache_from.is_empty() {
            // The frontend looks into caches by itself: what the request has of them is for builds without one.
            let entries = self
                .cache_from
                .iter()
                .map(|entry| serde_json::json!({ "Type": entry.kind, "Attrs": entry.attributes }));
            let entries: serde_json::Value = entries.collect();
            frontend_attrs.insert(CACHES.to_owned(), entries.to_string());
        }
        SolveRequest {
            r#ref: reference.to_owned(),
            session: session.to_owned(),
            frontend: FRONTEND.to_owned(),
            frontend_attrs,
            exporter_deprecated: kind,
            exporter_attrs_deprecated: attributes,
            exporters: exporters.into_iter().collect(),
            entitlements: self.entitlements,
            cache: Some(CacheOptions {
                imports: entries(self.cache_from),
                exports: entries(self.cache_to),
                ..CacheOptions::default()
            }),
            ..SolveRequest::default()
        }
    }
}

fn failure(status: Status) -> SolveError {
    let is_lost = std::error::Error::source(&status).is_some()
        || (status.code() == Code::Unavailable && status.details().is_empty());
    if is_lost {
        return SolveError::Lost(status);
    }
    SolveError::Failed {
        excerpt: excerpt(status.details()),
        message: plain(status.message()),
    }
}

/// The place in the Dockerfile that an error's details name.
fn excerpt(details: &[u8]) -> Option<Excerpt> {
    let whole = google::rpc::Status::decode(details).ok()?;
    let sources = whole
        .details
        .iter()
        .filter(|detail| detail.type_url.ends_with("errdefs.Source"))
        .filter_map(|detail| Source::decode(detail.value.as_slice()).ok());
    // The innermost place comes last.
    sources
        .filter_map(|source| Excerpt::of(source.info.as_ref()?, &source.ranges))
        .next_back()
}

/// Without what says how the builder is made.
fn plain(message: &str) -> String {
    const INSIDE: [&str; 4] = [
        "failed to solve with frontend dockerfile.v0: ",
        "failed to solve with frontend gateway.v0: ",
        "failed to create LLB definition: ",
        "rpc error: code = Unknown desc = ",
    ];
    let mut rest = message;
    while let Some(inner) = INSIDE.iter().find_map(|words| rest.strip_prefix(words)) {
        rest = inner;
    }
    rest.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_failed() {
        let words = "failed to solve with frontend dockerfile.v0: failed to create LLB definition: dockerfile parse error line 1: unknown \
                     instruction: X";
        assert_eq!(
            plain(words),
            "dockerfile parse error line 1: unknown instruction: X"
        );
        let SolveError::Failed { message, excerpt } = failure(Status::unknown("x")) else {
            panic!()
        };
        assert_eq!((message.as_str(), excerpt), ("x", None));
        assert!(matches!(
            failure(Status::unavailable("x")),
            SolveError::Lost(_)
        ));
    }

    #[test]
    fn the_frontend_is_told_of_caches() {
        let build = Build {
            cache_from: vec![CacheEntry {
                kind: "local".to_owned(),
                attributes: HashMap::from([("src".to_owned(), "from-0".to_owned())]),
            }],
            ..Build::default()
        };
        let request = build.request("reference", "session");
        assert_eq!(
            request.frontend_attrs[CACHES],
            r#"[{"Attrs":{"src":"from-0"},"Type":"local"}]"#
        );
        assert_eq!(request.cache.unwrap().imports.len(), 1);
    }

    #[test]
    fn details_that_are_none_say_nothing() {
        assert_eq!(excerpt(b"\xff\xff"), None);
        assert_eq!(excerpt(b""), None);
    }
}
