//! Authentication at a registry.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Response, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::address::may_see_credentials;
use super::challenge::{self, Challenge};
use super::credentials::Credentials;
use super::error::RegistryError;
use super::http::{Session, read_limited};

/// Most bytes of a token service's answer.
const MAX_TOKEN: usize = 1 << 20;
const CLIENT_ID: &str = "container";

/// Credentials of one session and what they were exchanged for.
#[derive(Debug)]
pub(super) struct Authority {
    credentials: Option<Credentials>,
    /// `repository:<path>:pull,push`; empty when only the registry itself is asked.
    scope: String,
    header: Mutex<Option<HeaderValue>>,
    /// A token service that the credentials were kept from.
    stranger: Mutex<Option<String>>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl Authority {
    pub(super) fn new(credentials: Option<Credentials>, scope: String) -> Self {
        Self {
            credentials,
            scope,
            header: Mutex::default(),
            stranger: Mutex::default(),
        }
    }

    /// Why credentials did not help, where they were not shown; to be appended to a message, may be empty.
    pub(super) async fn withheld(&self) -> String {
        match &*self.stranger.lock().await {
            Some(host) => format!(
                "; the credentials were not shown to its token service {host}, which is another host and not \
                 reached with TLS all the way"
            ),
            None => String::new(),
        }
    }

    /// What to send now.
    pub(super) async fn header(&self) -> Option<HeaderValue> {
        self.header.lock().await.clone()
    }

    /// Answers a challenge; false when there is nothing better to send than `sent`.
    pub(super) async fn answer(
        &self,
        session: &Session,
        response: &Response,
        sent: Option<&HeaderValue>,
    ) -> Result<bool, RegistryError> {
        let headers = response.headers().get_all(WWW_AUTHENTICATE);
        let Some(challenge) = challenge::parse(headers.iter().filter_map(|h| h.to_str().ok()))
        else {
            return Ok(false);
        };
        let mut header = self.header.lock().await;
        if header.as_ref() != sent {
            // Another request has answered in the meantime.
            return Ok(true);
        }
        let value = match challenge {
            Challenge::Basic => match &self.credentials {
                Some(credentials) => basic(credentials),
                None => return Ok(false),
            },
            Challenge::Bearer {
                realm,
                service,
                scope,
            } => {
                let scope = if self.scope.is_empty() {
                    scope
                } else {
                    Some(self.scope.clone())
                };
                let token = self.fetch(session, &realm, service, scope).await?;
                format!("Bearer {token}")
            }
        };
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| session.protocol("its token is no header"))?;
        value.set_sensitive(true);
        if Some(&value) == sent {
            return Ok(false);
        }
        *header = Some(value);
        Ok(true)
    }

    async fn fetch(
        &self,
        session: &Session,
        realm: &str,
        service: Option<String>,
        scope: Option<String>,
    ) -> Result<String, RegistryError> {
        let realm: Url = realm
            .parse()
            .map_err(|_| session.protocol("its token service has no address"))?;
        session.check(&session.base, &realm)?;
        let trusted = may_see_credentials(&session.base, &realm);
        let credentials = self.credentials.as_ref().filter(|_| trusted);
        let mut form: Vec<(&str, String)> = vec![("client_id", CLIENT_ID.into())];
        form.extend(service.map(|service| ("service", service)));
        form.extend(scope.map(|scope| ("scope", scope)));
        let request = match credentials {
            Some(Credentials::IdentityToken(token)) => {
                form.push(("grant_type", "refresh_token".into()));
                form.push(("refresh_token", token.clone()));
                let body = url_encoded(&form);
                session
                    .client
                    .post(realm.clone())
                    .header("Content-Type", "application/x-www-form-urlencoded")
                    .body(body)
            }
            Some(credentials @ Credentials::Password { .. }) => session
                .client
                .get(with_query(&realm, &form))
                .header("Authorization", basic(credentials)),
            None => session.client.get(with_query(&realm, &form)),
        };
        let host = super::address::authority(&realm);
        if self.credentials.is_some() && !trusted {
            *self.stranger.lock().await = Some(host.clone());
        }
        let response = request
            .send()
            .await
            .map_err(|error| RegistryError::unreachable(host.clone(), error))?;
        if !response.status().is_success() {
            return Err(session.failure(response, "the token").await);
        }
        let body = read_limited(response, MAX_TOKEN, session.retry.stall)
            .await
            .map_err(|error| session.protocol(error.to_string()))?;
        let token: Token = serde_json::from_slice(&body)
            .map_err(|_| session.protocol("its token service gives no token"))?;
        let token = if token.token.is_empty() {
            token.access_token
        } else {
            token.token
        };
        if token.is_empty() {
            return Err(session.protocol("its token service gives no token"));
        }
        Ok(token)
    }
}

fn basic(credentials: &Credentials) -> String {
    let (username, password) = match credentials {
        Credentials::Password { username, password } => (username.as_str(), password),
        Credentials::IdentityToken(token) => ("<token>", token),
    };
    format!(
        "Basic {}",
        STANDARD.encode(format!("{username}:{password}"))
    )
}

fn with_query(url: &Url, form: &[(&str, String)]) -> Url {
    let mut url = url.clone();
    url.query_pairs_mut().extend_pairs(form);
    url
}

fn url_encoded(form: &[(&str, String)]) -> String {
    // Encoded as a query is, which is the same form.
    let base: Result<Url, _> = "http://form.invalid/".parse();
    base.map(|base| {
        with_query(&base, form)
            .query()
            .unwrap_or_default()
            .to_owned()
    })
    .unwrap_or_default()
}
