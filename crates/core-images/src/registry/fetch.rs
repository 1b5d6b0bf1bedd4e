//! Downloads a file from an address that the user gave.

use std::fs::File;
use std::io::Write;

use reqwest::{Method, Url};

use super::auth::Authority;
use super::client::Registries;
use super::error::RegistryError;
use super::hosts::Host;
use super::http::Ask;

/// The largest file, in bytes.
const LIMIT: u64 = 16 << 30;

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The text is no address of HTTP.
    #[error("{0:?} is no http or https address")]
    Address(String),
    /// The server.
    #[error(transparent)]
    Server(#[from] RegistryError),
    /// It breaks off.
    #[error("the answer breaks off")]
    Broken(#[source] reqwest::Error),
    /// It stalls.
    #[error("the answer stalls")]
    Stalled,
    /// More than is ever taken.
    #[error("the file is larger than {LIMIT} bytes")]
    TooLarge,
    /// The caller's file.
    #[error("cannot write the file")]
    Write(#[source] std::io::Error),
}

impl Registries {
    /// Writes what is at `address` to `file`, with the rules that registries' redirects have. `report` is told how many
    /// bytes there are, and of how many (0: it is not said).
    ///
    /// # Errors
    /// What went wrong; `file` holds a part then.
    pub async fn fetch(
        &self,
        address: &str,
        mut file: File,
        report: impl Fn(u64, u64),
    ) -> Result<(), FetchError> {
        let invalid = || FetchError::Address(address.to_owned());
        let url: Url = address.parse().map_err(|_| invalid())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(invalid());
        }
        let base = url.join("/").map_err(|_| invalid())?;
        let session = self.session(Host::new(base), "", Authority::new(None, String::new()))?;
        let ask = Ask::new(Method::GET, url);
        let mut response = session.expect(&ask, address).await?;
        let total = response.content_length().unwrap_or(0);
        let mut done = 0;
        loop {
            let chunk = tokio::time::timeout(session.retry.stall, response.chunk()).await;
            let chunk = chunk.map_err(|_| FetchError::Stalled)?;
            let Some(chunk) = chunk.map_err(FetchError::Broken)? else {
                return Ok(());
            };
            done += chunk.len() as u64;
            if done > LIMIT {
                return Err(FetchError::TooLarge);
            }
            file.write_all(&chunk).map_err(FetchError::Write)?;
            report(done, total);
        }
    }
}
