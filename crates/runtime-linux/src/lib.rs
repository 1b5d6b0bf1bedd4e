//! A container in a virtual machine of its own: the operations, without a word about who asks for them.
//!
//! [`Container`] is one container on one machine. [`live`] boots its machine, runs it and brings it down; meanwhile the methods of
//! [`Container`] start its first process and further ones, signal them, wait for them, attach clients, count what they use and stop
//! it all. Beside that stand what happens before there is a container: [`Standby`] and [`make_template`], and [`probe`], which
//! tells what this host can start machines with.
//!
//! A container comes from a bundle of ours, which the apiserver writes, or from an OCI bundle, of which [`OciBundle`] makes one.
//!
//! The programs that stand on it are in `src/bin`: each translates what its caller says into calls of this crate.

mod confinement;
mod container;
mod files;
mod life;
mod limits;
mod machine;
mod oci;
mod oci_bundle;
mod process;
mod request;
mod sockets;
mod stdio;

pub use container::{Container, Started, State, Usage};
pub use life::live;
pub use machine::{Origin, Standby, TemplateRequest, make_template, probe};
pub use oci_bundle::{
    Config as OciConfig, ConfigError, Host, OciBundle, OciBundleError, RootError,
};
pub use process::Ended;
pub use sockets::keep as keep_sockets;
pub use stdio::{Stdio, TerminalSize};
