//! Registries that lie, break, redirect and fish: each with its answer.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod documents;
mod downloads;
mod image;
mod puller;
mod redirects;
#[path = "../support/mod.rs"]
mod support;
