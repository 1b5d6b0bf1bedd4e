//! The guest agent in a real guest. Each test boots a machine, so they are run on request:
//!
//! ```text
//! VMINITD_KERNEL=… VMINITD_INITRAMFS=… cargo test -p vminitd --test boot -- --ignored --test-threads 1
//! ```

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

mod container;
mod control;
mod guest;
mod network;
mod processes;
mod streams;
