//! What people bring: archives, images and registries' answers of other programs, old ones and odd ones. Each table
//! names the kind; the archives are made here, by code. What needs a virtual machine is in `tests/archives`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod archives;
mod compressions;
mod craft;
mod headers;
mod metadata;
mod names;
mod parts;
mod registries;
#[path = "../support/mod.rs"]
mod support;
