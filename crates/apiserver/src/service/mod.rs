//! `proto/api.proto`, served.

mod containers;
mod system;

pub use containers::Service as Containers;
pub use system::System;
