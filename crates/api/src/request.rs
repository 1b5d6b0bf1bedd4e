//! The id of a request: one word in the logs of all processes that had a part in it.
//!
//! A command makes one for all that it asks; where a client brings none, the first server does. It goes from process to process
//! in the metadata of each call ([`Told`], [`Heard`]), and to a helper with its start ([`VARIABLE`]).

use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::{PoisonError, RwLock};
use std::task::{Context, Poll};

use tokio::task::futures::TaskLocalFuture;
use tonic::codegen::http;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};
use tower::{Layer, Service};

/// The key of the metadata that carries it.
pub const KEY: &str = "container-request";
/// Names the request for which a process was started.
pub const VARIABLE: &str = "CONTAINER_REQUEST";

/// Most bytes of one.
const LIMIT: usize = 64;

/// A connection whose calls tell which request they are of.
pub type Channel = InterceptedService<tonic::transport::Channel, Told>;

tokio::task_local! {
    /// The request that a task works for.
    static CURRENT: RequestId;
}

/// What a process works for where a task says nothing else.
static OWN: RwLock<Option<RequestId>> = RwLock::new(None);

/// 1 to 64 letters, digits, `-`, `_` and `.`: it is written to logs as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

/// A text is no [`RequestId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid request id")]
pub struct InvalidRequestId;

impl RequestId {
    /// One that nobody else has: 64 random bits.
    pub fn new() -> Self {
        let mut bytes = [0; 8];
        // A kernel that has no random bytes yet gives the same id to several requests, which harms nothing.
        let _ = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::NONBLOCK);
        Self(format!("{:016x}", u64::from_ne_bytes(bytes)))
    }

    /// The request that the calling task, or this process, works for.
    pub fn current() -> Option<Self> {
        let own = || OWN.read().unwrap_or_else(PoisonError::into_inner).clone();
        CURRENT.try_with(Clone::clone).ok().or_else(own)
    }

    /// Has the process work for the request that it was started for, if [`VARIABLE`] names one.
    pub fn inherit() {
        let named = std::env::var(VARIABLE);
        if let Some(id) = named.ok().and_then(|text| text.parse::<Self>().ok()) {
            id.own();
        }
    }

    /// Has this be what the process works for where a task says nothing else.
    pub fn own(self) {
        *OWN.write().unwrap_or_else(PoisonError::into_inner) = Some(self);
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RequestId {
    type Err = InvalidRequestId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if (1..=LIMIT).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidRequestId)
        }
    }
}

/// `work`, for the request that the calling task works for now: what is spawned would forget it.
pub fn kept<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let id = RequestId::current();
    async move {
        match id {
            Some(id) => CURRENT.scope(id, work).await,
            None => work.await,
        }
    }
}

/// `work`, as a request of this process's own.
pub fn begun<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    CURRENT.scope(RequestId::new(), work)
}

/// Adds the current request's id to calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told;

impl Interceptor for Told {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value = RequestId::current().map(|id| MetadataValue::try_from(id.0));
        if let Some(Ok(value)) = value {
            request.metadata_mut().insert(KEY, value);
        }
        Ok(request)
    }
}

/// Has calls be served for the request that they tell, or a new one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard;

impl<S> Layer<S> for Heard {
    type Service = HeardService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        HeardService(inner)
    }
}

/// The service that [`Heard`] makes.
#[derive(Clone, Debug)]
pub struct HeardService<S>(S);

impl<S, B> Service<http::Request<B>> for HeardService<S>
where
    S: Service<http::Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = TaskLocalFuture<RequestId, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let told = request.headers().get(KEY);
        let told = told.and_then(|value| value.to_str().ok()?.parse().ok());
        let id: RequestId = told.unwrap_or_default();
        let path = request.uri().path();
        CURRENT.sync_scope(id.clone(), || tracing::debug!("asked for {path}"));
        let served = self.0.call(request);
        CURRENT.scope(id, served)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_are_ids() {
        let id = RequestId::new();
        assert_ne!(id, RequestId::new());
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["a", "0f-A_b.c", &"x".repeat(64)] {
            assert!(text.parse::<RequestId>().is_ok(), "{text}");
        }
        for text in ["", "a b", "a\nb", "ä", "a=b", "\"", &"x".repeat(65)] {
            assert!(text.parse::<RequestId>().is_err(), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_served_call_and_what_it_spawns_know_their_request_and_tell_it() {
        let served = tower::service_fn(async |_: http::Request<()>| {
            let spawned = tokio::spawn(kept(async { RequestId::current() }));
            let told = Told.call(Request::new(())).unwrap();
            let told = told
                .metadata()
                .get(KEY)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            Ok::<_, InvalidRequestId>((spawned.await.unwrap(), told))
        });
        let mut service = Heard.layer(served);
        let request = http::Request::builder()
            .header(KEY, "abc")
            .body(())
            .unwrap();
        let (known, told) = service.call(request).await.unwrap();
        assert_eq!(known.unwrap().to_string(), "abc");
        assert_eq!(told, "abc");
        // What is no id is not taken over.
        let request = http::Request::builder()
            .header(KEY, "a b")
            .body(())
            .unwrap();
        let (known, told) = service.call(request).await.unwrap();
        assert_eq!(known.unwrap().to_string(), told);
        assert_eq!(told.len(), 16);
    }
}
