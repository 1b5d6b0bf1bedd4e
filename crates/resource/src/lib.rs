//! What `container` stores and shows, and the grammars of what people type.

pub mod bundle;
pub mod capability;
pub mod container;
pub mod creation;
pub mod digest;
pub mod environment;
pub mod health;
pub mod hidden_path;
pub mod image;
pub mod image_settings;
pub mod label;
pub mod log;
pub mod name;
pub mod platform;
pub mod process;
pub mod reference;
pub mod restart;
pub mod rlimit;
pub mod settings;
pub mod signal;
pub mod size;
pub mod sysctl;
pub mod tmpfs;
