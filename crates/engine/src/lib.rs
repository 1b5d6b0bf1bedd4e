//! Turns a [`VmSpec`] into a running virtual machine.
//!
//! The engine knows nothing of containers, and nothing above it knows which VMM it uses. The
//! machine has disks, a console that is recorded within bounds, and one duplex byte stream to its
//! guest. It ends with its [`Vm`] value, and with the thread that started it.

pub mod accelerator;
mod confinement;
pub mod console;
mod engine;
mod facts;
pub mod host;
mod identity;
pub mod kernel;
mod process;
mod qemu;
mod saving;
mod spec;
mod template;
mod vm;

pub use engine::{Engine, StartError};
pub use qemu::binary::{FindVmmError, Version};
pub use qemu::disk::DiskError;
pub use qemu::qmp::QmpError as ControlError;
pub use saving::{RestoreError, SaveError, Saveable};
pub use spec::{Accelerator, Disk, Extent, MAX_EXTENTS, SECTOR, VmSpec};
pub use template::collection::{self as templates, StoredTemplate};
pub use template::{OpenTemplateError, Template};
pub use vm::{ExitCause, Moments, Vm, VmExit, host_memory};
