//! A container, as it is stored and shown (as Apple's container has it).
//!
//! The JSON is that of Apple's tool, so that programs written for it work unchanged. Keys that Apple does not
//! have are optional and left out when unset.

mod mounts;
mod network;
mod policy;
mod process;
mod statistics;
mod status;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::image::Descriptor;
use crate::journal::Journal;
use crate::machine::MachineSettings;
use crate::platform::Platform;

pub use mounts::{CacheMode, Device, Mount, MountKind, SyncMode};
pub use network::{
    AttachmentConfiguration, AttachmentOptions, DnsConfiguration, HostEntry, PortProtocol,
    PublishPort, PublishSocket,
};
pub use policy::{CreateOptions, HealthCheck, RestartPolicy};
pub use process::{ProcessConfiguration, Rlimit, User};
pub use statistics::{ContainerStatistics, NetworkStatistics};
pub use status::{Attachment, ContainerState, ContainerStatus, HealthState, ManagedContainer};

/// Bytes of a writable layer unless asked otherwise. Only what is written takes room.
pub const DEFAULT_STORAGE: u64 = 64 << 30;

/// Everything that was asked for when the container was created.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerConfiguration {
    /// The container's name.
    pub id: String,
    /// The image it was made of.
    pub image: ImageDescription,
    /// File systems mounted into it.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Ports of the host that lead into it.
    #[serde(default)]
    pub published_ports: Vec<PublishPort>,
    /// Sockets of the host that lead into it.
    #[serde(default)]
    pub published_sockets: Vec<PublishSocket>,
    /// Labels, the image's and the user's.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Kernel parameters of the guest.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// Networks it is attached to; the first carries the default route.
    #[serde(default)]
    pub networks: Vec<AttachmentConfiguration>,
    /// Ports at which its programs listen are the host's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host_network: bool,
    /// Absent: no `resolv.conf` is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsConfiguration>,
    /// Further lines of `/etc/hosts`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostEntry>,
    /// Always false on Linux.
    #[serde(default)]
    pub rosetta: bool,
    /// The guest may run virtual machines.
    #[serde(default)]
    pub virtualization: bool,
    /// The client's SSH agent is forwarded.
    #[serde(default)]
    pub ssh: bool,
    /// The root is mounted read-only.
    #[serde(default)]
    pub read_only: bool,
    /// A small init is the container's first process.
    #[serde(default)]
    pub use_init: bool,
    /// The first process.
    pub init_process: ProcessConfiguration,
    /// Platform of the image.
    pub platform: Platform,
    /// Size of the virtual machine.
    pub resources: Resources,
    /// Plugin that runs it.
    pub runtime_handler: String,
    /// `CAP_X` or `ALL`.
    #[serde(default)]
    pub cap_add: Vec<String>,
    /// `CAP_X` or `ALL`.
    #[serde(default)]
    pub cap_drop: Vec<String>,
    /// Bytes of `/dev/shm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<u64>,
    /// Name or number; absent: SIGTERM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Absent: the runtime's defaults; empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masked_paths: Option<Vec<String>>,
    /// Absent: the runtime's defaults; empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readonly_paths: Option<Vec<String>>,
    /// When it was created.
    pub creation_date: Timestamp,
    /// Seconds that `stop` waits before it kills; absent: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<u32>,
    /// UTS host name; absent: the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The most processes; absent: no limit beside the guest's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<u64>,
    /// Every capability, every device of the guest, no masked or read-only paths, and control groups of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
    /// Devices of the guest that it gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// Processes cannot gain privileges by executing a file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_new_privileges: bool,
    /// Seccomp profile in Docker's format; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp_profile: Option<serde_json::Value>,
    /// When it is started again by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
    /// How its health is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Words added to the guest kernel's command line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_arguments: Vec<String>,
    /// Kernel to boot; absent: the system's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Image with the guest's own root and init; absent: the installation's initramfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_image: Option<ImageDescription>,
    /// It is a container machine, with these settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineSettings>,
}

impl ContainerConfiguration {
    /// The images that it needs: its own, and the guest's if that has one.
    pub fn images(&self) -> impl Iterator<Item = &ImageDescription> {
        std::iter::once(&self.image).chain(&self.init_image)
    }

    /// Names of the volumes that it mounts, each once, in the order of their first mounts: that of the machine's disks for them.
    pub fn volumes(&self) -> Vec<&str> {
        let mut volumes = Vec::new();
        for name in self.mounts.iter().filter_map(Mount::volume) {
            if !volumes.contains(&name) {
                volumes.push(name);
            }
        }
        volumes
    }

    /// Whether none of the mounts of `volume` may be written to.
    pub fn only_reads(&self, volume: &str) -> bool {
        let mounts = self.mounts.iter();
        let mut mounts = mounts.filter(|mount| mount.volume() == Some(volume));
        mounts.all(Mount::is_read_only)
    }
}

/// The image a container was made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageDescription {
    /// Normalised reference.
    pub reference: String,
    /// Descriptor of the index (or manifest) the reference named then.
    pub descriptor: Descriptor,
    /// Manifest of the container's platform, `sha256:…`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub manifest_digest: String,
}

/// Size of the virtual machine, and the limits inside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// Virtual CPUs the container may use, at least 1.
    pub cpus: u32,
    /// Billionths of a CPU that it may use at a time, where that is a fraction: [`Self::cpus`] is rounded up then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nano_cpus: Option<u64>,
    /// Bytes the container may use.
    pub memory_in_bytes: u64,
    /// Bytes of the writable layer; absent: [`DEFAULT_STORAGE`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<u64>,
    /// Journal of the writable layer; absent: the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<Journal>,
    /// Virtual CPUs beside [`Self::cpus`] that the guest itself may use.
    #[serde(default)]
    pub cpu_overhead: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enums_are_written_as_swift_writes_them() {
        let json = |value: serde_json::Result<String>| value.unwrap();
        assert_eq!(
            json(serde_json::to_string(&MountKind::Tmpfs {})),
            r#"{"tmpfs":{}}"#
        );
        assert_eq!(
            json(serde_json::to_string(&User::Id { uid: 1, gid: 2 })),
            r#"{"id":{"uid":1,"gid":2}}"#
        );
        let raw = User::Raw {
            user_string: "nobody".into(),
        };
        assert_eq!(
            json(serde_json::to_string(&raw)),
            r#"{"raw":{"userString":"nobody"}}"#
        );
        assert_eq!(
            json(serde_json::to_string(&ContainerState::Running)),
            r#""running""#
        );
    }
}
