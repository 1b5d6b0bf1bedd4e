//! Archives made by a generator of the tests' own, and a server to feed them to.

#![allow(dead_code, reason = "each test file uses a part")]

pub mod hostile;
pub mod keyring;
pub mod oci;
pub mod registry;
pub mod schema;
pub mod server;
pub mod tarball;
pub mod tree;
