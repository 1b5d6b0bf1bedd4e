//! A hostile program in the VMM's place, started by the engine's own spawn and confinement, tries what a guest that
//! took its VMM over would try. In each mode that a host can force on us.

// Tests may panic.
#![allow(clippy::unwrap_used)]

mod acts;
mod modes;
#[path = "../tap/mod.rs"]
mod tap;
mod villain;
