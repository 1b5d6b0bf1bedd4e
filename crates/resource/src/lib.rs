//! What `container` stores and shows, and the grammars of what people type.

pub mod bundle;
pub mod container;
pub mod image;
pub mod platform;
