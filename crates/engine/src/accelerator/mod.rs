//! Whether the host's CPU can execute guests: probed, not assumed.

mod guest;
mod probe;

use std::path::Path;

use serde::{Deserialize, Serialize};

/// What is known of KVM on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kvm", rename_all = "kebab-case")]
pub enum Verdict {
    /// A guest ran and executed everything that a stock kernel needs.
    Works,
    /// There is no `/dev/kvm`.
    Absent,
    /// `/dev/kvm` may not be opened by this user.
    NoPermission,
    /// `/dev/kvm` opens, yet no stock kernel would run.
    Unable {
        /// What failed.
        reason: String,
    },
    /// The trial came to nothing for a reason that may pass, as on a busy host; it is made again next time.
    Undecided {
        /// What failed.
        reason: String,
    },
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Works => f.write_str("KVM works"),
            Self::Absent => f.write_str("there is no /dev/kvm"),
            Self::NoPermission => f.write_str("/dev/kvm may not be opened by this user"),
            Self::Unable { reason } => write!(f, "/dev/kvm cannot run a guest: {reason}"),
            Self::Undecided { reason } => write!(f, "/dev/kvm could not be tried: {reason}"),
        }
    }
}

/// The device node of KVM.
pub(crate) const DEVICE: &str = "/dev/kvm";

/// The verdict on this host's KVM. `known` is what was found earlier in this boot: it spares the
/// trial, but not the look at the device, whose permissions can change.
pub(crate) fn verdict(known: Option<Verdict>) -> Verdict {
    match probe::open(Path::new(DEVICE)) {
        Err(verdict) => verdict,
        Ok(device) => match known {
            Some(known @ (Verdict::Works | Verdict::Unable { .. })) => known,
            _ => probe::run(device),
        },
    }
}
