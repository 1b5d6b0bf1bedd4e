//! `proto/api.proto`, served.

mod containers;
mod networks;
mod system;

pub use containers::Service as Containers;
pub use networks::Service as Networks;
pub use system::System;
