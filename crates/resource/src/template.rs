//! Saved machines, from which containers start.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A saved machine as `system template list` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateResource {
    /// 32 hexadecimal digits; different for each shape of machine.
    pub id: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Bytes of the whole guest.
    pub memory_in_bytes: u64,
    /// Bytes allocated on the disk.
    pub size_in_bytes: u64,
    /// When it was saved, in whole seconds.
    pub creation_date: Timestamp,
    /// When a machine was last started from it, in whole seconds.
    pub used_date: Timestamp,
    /// A machine that was started from it waits for the next container.
    pub standby: bool,
}
