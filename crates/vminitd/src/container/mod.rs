//! The one container of this guest: its root, its control group, and what is known about it.

mod cache;
pub mod cgroup;
mod device_filter;
mod growth;
mod guest_device;
mod leftover;
mod limits;
mod processes;
mod root;
mod standstill;
mod statistics;
mod sysctl;
pub mod volumes;

pub use cache::trim as trim_cache;
pub use cgroup::Cgroup;
pub use growth::Growth;
pub use guest_device::{DeviceError, find as guest_device};
pub use leftover::Leftover;
pub use limits::{LimitError, settings};
pub use processes::{members, processes};
pub use root::{RootError, close_upper, mount_root, unmount_root};
pub use standstill::forgive as forgive_standstill;
pub use statistics::statistics;
pub use sysctl::{SysctlError, set as set_sysctl};
pub use volumes::{VolumeError, close_volumes, mount_volumes, unmount_volumes};
