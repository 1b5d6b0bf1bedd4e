//! Mounts as descriptors: made where their sources are visible, attached where their targets are.

mod filesystem;
mod options;
mod tree;

pub use container_isolation::mount::view;
pub use filesystem::{Filesystem, FilesystemError};
pub use options::{MountFlagSet, MountOptions, Propagation};
pub use tree::{attach, set_attributes, set_propagation};
