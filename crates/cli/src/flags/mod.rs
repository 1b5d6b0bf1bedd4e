//! Flags that several commands share (as Apple's container has it).

mod changes;
mod format;
mod grace;
mod health;
mod management;
mod network;
mod pause;
mod platform;
mod process;
mod progress;
mod registry;
mod resource;
mod security;
mod unasked;

pub use changes::ChangeFlags;
pub use format::FormatFlags;
pub use grace::{Grace, parse as parse_grace};
pub use health::HealthFlags;
pub use management::{ManagementFlags, kernel_path};
pub use network::{NetworkFlags, Policy, policy};
pub use pause::PauseFlag;
pub use platform::PlatformFlags;
pub use process::ProcessFlags;
pub use progress::{ProgressFlags, ProgressStyle};
pub use registry::{DownloadFlags, SchemeFlags};
pub use resource::ResourceFlags;
pub use unasked::UnaskedFlag;
