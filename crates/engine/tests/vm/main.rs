//! Real machines with the workspace's kernel and a guest of our own.

#![allow(clippy::unwrap_used)] // A failing step is a failing test, in helpers as in tests.

mod cpio;
mod devices;
mod machine;
mod support;
#[path = "../tap/mod.rs"]
mod tap;
mod template;
