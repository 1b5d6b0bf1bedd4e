//! Container machines: long-lived containers with an init of their own, to work in (as Apple's container has it).
//!
//! A machine is a container whose configuration has a part for it: [`MachineSettings`]. What follows from that part and the image
//! is decided here, at creation and whenever a value is changed.

mod change;
mod creation;
mod listed;
mod names;
mod settings;

pub use change::{Change, ChangeError};
pub use creation::{MachineCreation, aliases};
pub use listed::{MachineResource, MissingMachine, Snapshot};
pub use names::{check_name, check_snapshot_name, default_name};
pub use settings::{Attached, HomeMount, MachineSettings, MachineUser, SETUP_LIMIT};
use settings::{home, is_home};

/// The program that is a machine's first process.
pub const INIT: &str = "/sbin/init";
/// The value of the label [`well_known::PLUGIN`] that hides a machine's container among the others.
pub const PLUGIN: &str = "machine";
/// What the plugin that starts machines calls the check whether they can run virtual machines.
pub const VIRTUALIZATION: &str = "virtualization";
/// Seconds that a machine has to shut down by itself.
pub const GRACE: u32 = 10;
/// The longest name, in bytes: its container's has a hyphen and six digits more, and a host name has 64.
pub const NAME_MAX: usize = 57;
/// The longest name of a snapshot, in bytes.
pub const SNAPSHOT_NAME_MAX: usize = 63;
