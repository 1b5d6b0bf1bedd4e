//! What keeps one process from the rest of the host, in the words of the kernel: mounts of its own ([`mount`]), and ids that
//! own nothing ([`subordinate_ids`]).
//!
//! Who is to be kept from what is decided by those that use it: the engine for VMMs, the process of a machine's shares for
//! itself, and vminitd for containers.

pub mod mount;
pub mod subordinate_ids;
