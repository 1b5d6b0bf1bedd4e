//! `proto/api.proto`, served.

mod containers;
mod machines;
mod networks;
mod system;
mod volumes;

pub use containers::Service as Containers;
pub use machines::Service as Machines;
pub use networks::Service as Networks;
pub use system::System;
pub use volumes::Service as Volumes;
