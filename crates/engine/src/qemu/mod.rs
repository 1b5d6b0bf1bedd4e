//! QEMU's `microvm` machine.

pub(crate) mod arguments;
pub mod binary;
pub mod device;
pub(crate) mod migration;
pub mod qmp;
