//! Requests to one registry for one repository: authorisation, redirects, retries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use container_api::Chain;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Body, Client, Method, Response, StatusCode, Url};
use serde::Deserialize;

use super::address::{authority, refusal};
use super::auth::Authority;
use super::error::RegistryError;
use super::reach::Origin;
use super::retry::{Retry, retry_after};

/// Most redirects of one request.
const MAX_REDIRECTS: u32 = 5;
/// Most bytes of an error's text.
const MAX_ERROR: usize = 64 * 1024;
/// Most bytes of it that are shown.
const MAX_SHOWN: usize = 500;

/// What can be asked of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capabilities {
    pub pull: bool,
    pub push: bool,
}

/// One host's answers about one repository.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    /// What the registry may lead to.
    pub(super) origin: Arc<Origin>,
    /// `https://host/v2/`
    pub(super) base: Url,
    /// As the host names it: `library/busybox`.
    pub(super) repository: String,
    pub(super) headers: HeaderMap,
    pub(super) authority: Authority,
    pub(super) retry: Retry,
    /// It failed, and another host was asked instead.
    pub(super) avoided: AtomicBool,
}

/// A request that can be sent again.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Ask {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        // Values are made here, of digits and media types; an invalid one is left out.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(super) fn body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Session {
    /// Host and port, for messages.
    pub(super) fn host(&self) -> String {
        authority(&self.base)
    }

    /// `…/v2/<repository>/<rest>`
    pub(super) fn url(&self, rest: &str) -> Result<Url, RegistryError> {
        let path = format!("{}/{rest}", self.repository);
        self.base
            .join(&path)
            .map_err(|_| self.protocol("the address cannot be built"))
    }

    /// Marks the host as failing.
    pub(super) fn avoid(&self) {
        self.avoided.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_avoided(&self) -> bool {
        self.avoided.load(Ordering::Relaxed)
    }

    /// Asks until there is an answer that is not a passing failure.
    pub(super) async fn send(&self, ask: &Ask) -> Result<Response, RegistryError> {
        let mut attempt = 1;
        loop {
            let (error, asked) = match self.send_once(ask).await {
                Ok(response) => {
                    let asked = response
                        .headers()
                        .get(RETRY_AFTER)
                        .and_then(|value| retry_after(value.to_str().ok()?));
                    let passing = RegistryError::Status {
                        host: self.host(),
                        status: response.status(),
                        detail: String::new(),
                    };
                    if !passing.is_transient() {
                        return Ok(response);
                    }
                    (self.failure(response, "the answer").await, asked)
                }
                Err(error) if error.is_transient() => (error, None),
                Err(error) => return Err(error),
            };
            let Some(wait) = self.retry.wait(attempt, asked) else {
                return Err(error);
            };
            tracing::debug!(error = %Chain(&error), ?wait, "asking again");
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// As [`Session::send`]; an answer that is no success is an error about `what`.
    pub(super) async fn expect(&self, ask: &Ask, what: &str) -> Result<Response, RegistryError> {
        let response = self.send(ask).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.failure(response, what).await)
    }

    /// One request, with authorisation and redirects.
    pub(super) async fn send_once(&self, ask: &Ask) -> Result<Response, RegistryError> {
        let mut authorised_again = false;
        loop {
            let authorization = self.authority.header().await;
            let response = self.follow(ask, authorization.clone()).await?;
            let is_own = response.url().origin() == self.base.origin();
            if response.status() != StatusCode::UNAUTHORIZED || authorised_again || !is_own {
                return Ok(response);
            }
            if !self
                .authority
                .answer(self, &response, authorization.as_ref())
                .await?
            {
                return Ok(response);
            }
            authorised_again = true;
        }
    }

    async fn follow(
        &self,
        ask: &Ask,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, RegistryError> {
        let mut url = ask.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.client.request(ask.method.clone(), url.clone());
            request = request.headers(ask.headers.clone());
            // What is meant for the registry stays with it.
            if url.origin() == self.base.origin() {
                request = request.headers(self.headers.clone());
                if let Some(value) = &authorization {
                    request = request.header(AUTHORIZATION, value.clone());
                }
            }
            if !ask.body.is_empty()
                || matches!(ask.method, Method::PUT | Method::PATCH | Method::POST)
            {
                request = request.body(Body::from(ask.body.clone()));
            }
            let response = request
                .send()
                .await
                .map_err(|error| RegistryError::unreachable(authority(&url), error))?;
            let is_read = matches!(ask.method, Method::GET | Method::HEAD);
            if !response.status().is_redirection() || !is_read {
                return Ok(response);
            }
            let location = response
                .headers()
                .get(LOCATION)
                .and_then(|value| value.to_str().ok());
            let target = location
                .and_then(|location| url.join(location).ok())
                .ok_or_else(|| self.protocol("a redirect leads nowhere"))?;
            self.check(&url, &target)?;
            url = target;
        }
        Err(self.protocol("it redirects in circles"))
    }

    /// Whether an answer from `from` may lead to `target`.
    pub(super) fn check(&self, from: &Url, target: &Url) -> Result<(), RegistryError> {
        let Some(reason) = refusal(&self.origin, from, target) else {
            return Ok(());
        };
        let mut shown = target.clone();
        shown.set_query(None);
        // Both fail only on addresses that cannot have them.
        let _ = shown.set_password(None);
        let _ = shown.set_username("");
        Err(RegistryError::Refused {
            host: self.host(),
            target: shown.into(),
            reason,
        })
    }

    pub(super) fn protocol(&self, reason: impl Into<String>) -> RegistryError {
        RegistryError::Protocol {
            host: self.host(),
            reason: reason.into(),
        }
    }

    /// The error that an answer means.
    pub(super) async fn failure(&self, response: Response, what: &str) -> RegistryError {
        let status = response.status();
        let host = authority(response.url());
        let text = read_limited(response, MAX_ERROR, self.retry.stall)
            .await
            .unwrap_or_default();
        let detail = detail(&text);
        match status {
            StatusCode::NOT_FOUND => RegistryError::NotFound {
                host,
                what: what.into(),
                detail,
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let detail = detail + &self.authority.withheld().await;
                RegistryError::Denied { host, detail }
            }
            status => RegistryError::Status {
                host,
                status,
                detail,
            },
        }
    }
}

/// What the registry says, made fit to be shown.
fn detail(text: &[u8]) -> String {
    let Ok(errors) = serde_json::from_slice::<Errors>(text) else {
        return String::new();
    };
    let shown: Vec<String> = errors
        .errors
        .iter()
        .map(|entry| match entry.message.as_str() {
            "" => entry.code.clone(),
            message => message.to_owned(),
        })
        .collect();
    let shown: String = shown
        .join("; ")
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_SHOWN)
        .collect();
    if shown.is_empty() {
        shown
    } else {
        format!(": {shown}")
    }
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read_limited(
    mut response: Response,
    limit: usize,
    stall: Duration,
) -> Result<Bytes, ReadLimitedError> {
    let mut body = BytesMut::new();
    loop {
        let chunk = tokio::time::timeout(stall, response.chunk()).await;
        match chunk
            .map_err(|_| ReadLimitedError::Stalled)?
            .map_err(ReadLimitedError::Broken)?
        {
            None => return Ok(body.freeze()),
            Some(chunk) if body.len() + chunk.len() > limit => {
                return Err(ReadLimitedError::TooLarge(limit));
            }
            Some(chunk) => body.extend_from_slice(&chunk),
        }
    }
}

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadLimitedError {
    #[error("the answer stalls")]
    Stalled,
    #[error("the answer breaks off")]
    Broken(#[source] reqwest::Error),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}
