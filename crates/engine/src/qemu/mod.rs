//! QEMU's `microvm` machine.

pub(crate) mod arguments;
pub mod binary;
pub mod disk;
pub mod exchange;
pub(crate) mod migration;
pub mod qmp;
