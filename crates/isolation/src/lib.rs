//! What keeps one process from the rest of the host, in the words of the kernel: mounts of its own ([`mount`], [`mountinfo`]), ids that own nothing
//! ([`subordinate_ids`], [`user_namespace`]), and few system calls (`calls`).
//!
//! Who is to be kept from what is decided by those that use it: the engine for VMMs, the other processes for themselves, and vminitd
//! for containers.

#[cfg(feature = "attack")]
pub mod attack;
#[cfg(feature = "calls")]
pub mod calls;
pub mod mount;
pub mod mountinfo;
pub mod subordinate_ids;
pub mod user_namespace;
