//! Registries (OCI distribution specification 1.1): finding them, talking to them, moving images.

pub mod address;
mod attached;
mod auth;
mod blob;
mod causes;
mod challenge;
pub mod client;
pub mod credentials;
mod error;
mod fetch;
mod hosts;
mod http;
mod manifest;
mod progress;
pub mod pull;
pub mod push;
mod reach;
mod referrers;
mod resolver;
mod retry;
pub mod scheme;
mod upload;

pub use attached::Part;
pub use client::Registries;
pub use error::RegistryError;
pub use fetch::FetchError;
pub use hosts::ConfigurationError;
pub use progress::{Phase, Progress, Report};
pub use resolver::Lookup;
pub use retry::Retry;
pub use scheme::Scheme;
