//! A process of a container.

use serde::{Deserialize, Serialize};

/// A process to run in a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessConfiguration {
    /// First word: looked up in `PATH` inside the container when it has no slash.
    pub executable: String,
    /// The words after it.
    pub arguments: Vec<String>,
    /// `KEY=value`, in order; a later one wins.
    pub environment: Vec<String>,
    /// Absolute; created when missing.
    pub working_directory: String,
    /// A pseudo-terminal is its standard input, output and error.
    pub terminal: bool,
    /// Who runs it.
    pub user: User,
    /// Further groups.
    #[serde(default)]
    pub supplemental_groups: Vec<u32>,
    /// Every capability, whatever the container has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
    /// Resource limits.
    #[serde(default)]
    pub rlimits: Vec<Rlimit>,
}

/// Who runs a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum User {
    /// By number.
    Id {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// As the container's own `passwd` and `group` say.
    #[serde(rename_all = "camelCase")]
    Raw {
        /// `name|uid[:group|gid]`.
        user_string: String,
    },
}

/// Root.
impl Default for User {
    fn default() -> Self {
        Self::Id { uid: 0, gid: 0 }
    }
}

/// A resource limit (`setrlimit(2)`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_NOFILE` and the like.
    pub limit: String,
    /// `u64::MAX`: unlimited.
    pub soft: u64,
    /// `u64::MAX`: unlimited.
    pub hard: u64,
}
