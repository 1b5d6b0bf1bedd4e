//! What is asked for of a machine beside what every container has.

use serde::{Deserialize, Serialize};

use crate::bind;
use crate::container::{Mount, MountKind};

/// What is asked for of a machine, beside what every container has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineSettings {
    /// Its name.
    pub id: String,
    /// How the user's home is seen.
    pub home_mount: HomeMount,
    /// Whose it is.
    pub user_setup: MachineUser,
    /// What was attached to its image says of it.
    #[serde(default, flatten)]
    pub attached: Attached,
}

/// What an artifact that refers to an image says of machines made of it (Apple's tool: `application/vnd.apple.container.machine.config.v1+json`
/// and `application/vnd.apple.container.machine.setup.v1+sh`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attached {
    /// The login shell of the user, where the machine has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// What sets the user up in the place of our script: of at most [`SETUP_LIMIT`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup_script: Option<String>,
}

/// The largest setup script, in bytes: it is handed over in a variable, of which Linux takes 128 KiB.
pub const SETUP_LIMIT: usize = 96 << 10;

/// The user of the host whose machine it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineUser {
    /// Login name.
    pub username: String,
    /// User id on the host and in the machine.
    pub uid: u32,
    /// Group id on the host and in the machine.
    pub gid: u32,
    /// Home directory on the host and in the machine.
    #[serde(default)]
    pub home: String,
    /// Login shell on the host: the machine's, where it has it.
    #[serde(default)]
    pub shell: String,
}

/// How a machine sees its user's home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HomeMount {
    /// It can be read.
    #[serde(rename = "ro")]
    ReadOnly,
    /// It can be written, too.
    #[default]
    #[serde(rename = "rw")]
    ReadWrite,
    /// The machine has a home of its own.
    #[serde(rename = "none")]
    None,
}

impl HomeMount {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "ro",
            Self::ReadWrite => "rw",
            Self::None => "none",
        }
    }
}

impl std::str::FromStr for HomeMount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ro" => Ok(Self::ReadOnly),
            "rw" => Ok(Self::ReadWrite),
            "none" => Ok(Self::None),
            _ => Err("ro, rw or none is expected".to_owned()),
        }
    }
}

/// The user's home, at its own path, whose files are its user's on both sides. A user other than root has what their processes make on
/// the host: those files belong to the user of the machine, and whatever its root makes there does, too.
pub(super) fn home(machine: &MachineSettings) -> Option<Mount> {
    let option = match machine.home_mount {
        HomeMount::None => return None,
        HomeMount::ReadOnly => "ro",
        HomeMount::ReadWrite => "rw",
    };
    let MachineUser { uid, gid, home, .. } = &machine.user_setup;
    let owners = format!("{}uids=0-{uid}-1;gids=0-{gid}-1", bind::IDMAP);
    let owners = (*uid != 0).then_some(owners.as_str());
    bind::mount(home, home, std::iter::once(option).chain(owners)).ok()
}

/// Whether `mount` is what [`home`] gives.
pub(super) fn is_home(mount: &Mount, machine: &MachineSettings) -> bool {
    mount.kind == MountKind::Virtiofs {} && mount.destination == machine.user_setup.home
}
