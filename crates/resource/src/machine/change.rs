//! `machine set <key>=<value>`: the settings of a machine that can be changed after its creation.

use serde::{Deserialize, Serialize};

use super::{HomeMount, home, is_home};
use crate::container::ContainerConfiguration;
use crate::{cpus, size, switch};

/// Keys that can be changed.
const KEYS: &str = "cpus, memory, home-mount, virtualization and kernel";

/// One value that is to be another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// Virtual CPUs.
    Cpus(u32),
    /// Bytes of memory.
    Memory(u64),
    /// How the user's home is seen.
    HomeMount(HomeMount),
    /// Whether it may run virtual machines.
    Virtualization(bool),
    /// Kernel that it boots: a path of the host, absolute when it is applied; nothing: the system's default.
    Kernel(Option<String>),
}

/// Why a text is no change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// No `=`.
    #[error("'{0}' is no <key>=<value>: {KEYS} can be set")]
    Grammar(String),
    /// Another key.
    #[error("unknown key '{0}': {KEYS} can be set")]
    Key(String),
    /// A value that the key cannot have.
    #[error("invalid value '{value}' for {key}: {reason}")]
    Value {
        /// The key.
        key: String,
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The machine has no home that could be seen.
    #[error("home-mount: the user has no home directory")]
    NoHome,
    /// A path that means something else in another directory.
    #[error("kernel: '{0}' is no absolute path")]
    Relative(String),
}

impl Change {
    /// `<key>=<value>`.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn parse(text: &str) -> Result<Self, ChangeError> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| ChangeError::Grammar(text.to_owned()))?;
        let invalid = |reason: String| ChangeError::Value {
            key: key.to_owned(),
            value: value.to_owned(),
            reason,
        };
        match key {
            "cpus" => cpus::parse_whole(value).map(Self::Cpus).map_err(invalid),
            "memory" => size::parse_memory(value)
                .map(Self::Memory)
                .map_err(|error| invalid(error.to_string())),
            "home-mount" => value.parse().map(Self::HomeMount).map_err(invalid),
            "virtualization" => switch::parse(value)
                .map(Self::Virtualization)
                .map_err(|error| invalid(error.to_string())),
            "kernel" if value.is_empty() => Ok(Self::Kernel(None)),
            "kernel" => Ok(Self::Kernel(Some(value.to_owned()))),
            _ => Err(ChangeError::Key(key.to_owned())),
        }
    }

    /// Changes the configuration of a machine's container. One of another container stays as it is.
    ///
    /// # Errors
    /// When a home is to be seen that is not there, or the path of a kernel is not absolute.
    pub fn apply(&self, configuration: &mut ContainerConfiguration) -> Result<(), ChangeError> {
        match self {
            Self::Cpus(number) => configuration.resources.cpus = *number,
            Self::Memory(bytes) => configuration.resources.memory_in_bytes = *bytes,
            Self::Virtualization(on) => configuration.virtualization = *on,
            Self::Kernel(path) => {
                if let Some(path) = path.as_ref().filter(|path| !path.starts_with('/')) {
                    return Err(ChangeError::Relative(path.clone()));
                }
                configuration.kernel.clone_from(path);
            }
            Self::HomeMount(mode) => {
                let Some(machine) = &mut configuration.machine else {
                    return Ok(());
                };
                machine.home_mount = *mode;
                let mounted = home(machine);
                if mounted.is_none() && *mode != HomeMount::None {
                    return Err(ChangeError::NoHome);
                }
                configuration
                    .mounts
                    .retain(|mount| !is_home(mount, machine));
                configuration.mounts.extend(mounted);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::creation::tests::configuration;
    use super::*;

    #[test]
    fn values_are_read_by_their_key() {
        for (text, expected) in [
            ("cpus=3", Change::Cpus(3)),
            ("memory=2g", Change::Memory(2 << 30)),
            ("home-mount=none", Change::HomeMount(HomeMount::None)),
            ("virtualization=true", Change::Virtualization(true)),
            ("kernel=", Change::Kernel(None)),
            ("kernel=/k=v", Change::Kernel(Some("/k=v".into()))),
            ("kernel=k", Change::Kernel(Some("k".into()))),
        ] {
            assert_eq!(Change::parse(text), Ok(expected), "{text}");
        }
        for text in [
            "cpus",
            "cpus=",
            "cpus=0",
            "cpus=1.5",
            "cpus=-1",
            "memory=1",
            "memory=lots",
            "home-mount=RW",
            "virtualization=2",
            "=",
            "disk=1",
        ] {
            assert!(Change::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            Change::parse("disk=1").unwrap_err().to_string(),
            "unknown key 'disk': cpus, memory, home-mount, virtualization and kernel can be set"
        );
    }

    #[test]
    fn a_kernel_is_where_its_path_says() {
        let mut machine = configuration(HomeMount::None);
        let change = |path: &str| Change::Kernel(Some(path.to_owned()));
        assert!(change("k").apply(&mut machine).is_err());
        change("/k").apply(&mut machine).unwrap();
        assert_eq!(machine.kernel.as_deref(), Some("/k"));
        Change::Kernel(None).apply(&mut machine).unwrap();
        assert_eq!(machine.kernel, None);
    }

    #[test]
    fn the_home_is_mounted_as_is_said_last() {
        let mut machine = configuration(HomeMount::ReadWrite);
        for (mode, mounts) in [
            (HomeMount::ReadOnly, 1),
            (HomeMount::None, 0),
            (HomeMount::ReadWrite, 1),
        ] {
            Change::HomeMount(mode).apply(&mut machine).unwrap();
            assert_eq!(machine.mounts.len(), mounts);
            let read_only = machine
                .mounts
                .first()
                .map(crate::container::Mount::is_read_only);
            assert_eq!(
                read_only,
                (mounts == 1).then_some(mode == HomeMount::ReadOnly)
            );
        }
    }
}
