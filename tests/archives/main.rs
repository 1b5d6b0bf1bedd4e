//! What people bring, as far as it takes a virtual machine or the command line: odd archives that run, and the files
//! that a user names. The tables of formats are in `crates/core-images/tests/field`.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod images;
#[path = "../e2e/namespace.rs"]
#[allow(dead_code, reason = "each test binary uses a part")]
mod namespace;
mod outputs;
#[path = "../e2e/system.rs"]
#[allow(dead_code, reason = "each test binary uses a part")]
mod system;
