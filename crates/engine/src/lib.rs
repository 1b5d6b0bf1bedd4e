//! Turns a [`VmSpec`] into a running virtual machine.
//!
//! The engine knows nothing of containers, and nothing above it knows which VMM it uses. A machine
//! has devices, each with a role by which its guest finds it. It ends with its [`Vm`] value, with the thread that started it, and with the process.
//!
//! ```no_run
//! # use container_engine::{Engine, VmSpec};
//! # async fn example(spec: VmSpec) -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::open("/home/me/.cache/container".as_ref()).await?;
//! println!("{}: {}", engine.vmm(), engine.kvm());
//! let mut vm = engine.start(&spec).await?;
//! let channel = vm.take_channel();
//! println!("the machine has ended: {}", vm.wait().await?);
//! # Ok(())
//! # }
//! ```
//!
//! A start has three layers: [`Engine`] checks and opens everything that the machine is made of, `vmm` is the seam behind which
//! a VMM makes a machine of it (`qemu` does), and `process` runs the VMM with these descriptors and no other power
//! (`confinement`). Machines of one shape can be started from a [`Template`] instead of booting each:
//! [`Engine::start_saveable`], [`Saveable::save`], [`Engine::restore`].

pub mod accelerator;
pub mod confinement;
pub mod console;
mod device;
mod engine;
mod exit;
mod facts;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod host;
mod identity;
pub mod kernel;
mod memory;
mod process;
mod qemu;
mod recorder;
mod saving;
#[cfg(any(test, feature = "scripted"))]
pub mod scripted;
mod spec;
mod template;
mod vm;
mod vmm;

pub use confinement::cgroup::Allowance;
pub use device::{
    Device, DeviceError, Disk, DiskError, DiskRole, Extent, MAX_EXTENTS, MTU, MacAddress,
    MacAddressError, Nic, NicError, PlaceError, SECTOR, Share, ShareError, SpareNic, TAG_LIMIT,
    vhost,
};
pub use engine::{Engine, StartError};
pub use exit::{ExitCause, VmExit};
pub use memory::HostMemory;
pub use process::SpawnError;
pub use qemu::binary::INSTALL;
pub use qemu::device::place::{MAX_DISKS, ROOM};
pub use saving::{RestoreError, SaveError, Saveable};
pub use spec::{Accelerator, VmSpec};
pub use template::devices::Exclusion;
pub use template::{OpenTemplateError, Template};
pub use vm::{Moments, Vm};
pub use vmm::{
    Capabilities, ConnectError, ControlError, ExchangeError, FindVmmError, Refusal, Stalls,
};
