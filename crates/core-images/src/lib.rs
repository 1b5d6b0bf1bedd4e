//! The process that owns images: content store, archives, registries, unpacked layers.
//!
//! A library for the sake of tests and fuzzing; the program is [`command::Command`].

pub mod archive;
mod budget;
pub mod command;
pub mod image;
pub mod import;
pub mod keyed;
pub mod layer;
mod recompress;
pub mod registry;
pub mod root;
pub mod seal;
pub mod serve;
pub mod service;
pub mod store;
