//! `proto/api.proto`, served.

mod containers;
mod networks;
mod system;
mod volumes;

pub use containers::Service as Containers;
pub use networks::Service as Networks;
pub use system::System;
pub use volumes::Service as Volumes;
