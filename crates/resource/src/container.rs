//! What is stored and shown of a container (reference section 2.1).
//!
//! The JSON is that of Apple's tool, so that programs written for it work unchanged. Keys that Apple does not
//! have are optional and left out when unset.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::egress::EgressRule;
use crate::image::Descriptor;
use crate::journal::Journal;
use crate::platform::Platform;

/// A container as `list` and `inspect` show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManagedContainer {
    /// The container's name.
    pub id: String,
    /// What was asked for; never changes after creation, except by `rename`.
    pub configuration: ContainerConfiguration,
    /// What is.
    pub status: ContainerStatus,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Its bundle cannot be read, or its helper does not answer: see [`ContainerStatus::reason`].
    Unknown,
    /// Not running; also: never started.
    #[default]
    Stopped,
    /// Its first process runs.
    Running,
    /// Running, with every process frozen.
    Paused,
    /// On its way to stopped.
    Stopping,
    /// It has ended, and its policy starts it again after a pause.
    Restarting,
}

/// The changing part of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Where it is in its life.
    pub state: ContainerState,
    /// Addresses on its networks.
    pub networks: Vec<Attachment>,
    /// Ports that are open for it, with those that were chosen where any would do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published_ports: Vec<PublishPort>,
    /// When its first process was last started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_date: Option<Timestamp>,
    /// When it last ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exited_date: Option<Timestamp>,
    /// How its first process last ended: exit status, or 128 + signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why it ended or cannot be read, where that was not its own process's exit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The guest's kernel killed one of its processes for lack of memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oom_killed: bool,
    /// State of its health check, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthState>,
    /// How often its restart policy has started it since it was last started by hand.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restart_count: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde asks for"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What the health check last said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthState {
    /// In its start period, or not checked yet.
    Starting,
    /// The last check passed.
    Healthy,
    /// As many checks in a row failed as are allowed.
    Unhealthy,
}

/// A container's place in a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// Network's name.
    pub network: String,
    /// Fully qualified, with trailing dot, when a DNS domain is set.
    pub hostname: String,
    /// Address with prefix length.
    pub ipv4_address: String,
    /// Address of the gateway.
    pub ipv4_gateway: String,
    /// Address with prefix length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<String>,
    /// `xx:xx:xx:xx:xx:xx`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

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
}

impl ContainerConfiguration {
    /// The images that it needs: its own, and the guest's if that has one.
    pub fn images(&self) -> impl Iterator<Item = &ImageDescription> {
        std::iter::once(&self.image).chain(&self.init_image)
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
    /// Bytes of the writable layer; absent: the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<u64>,
    /// Journal of the writable layer; absent: the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<Journal>,
    /// Virtual CPUs beside [`Self::cpus`] that the guest itself may use.
    #[serde(default)]
    pub cpu_overhead: u32,
}

/// A device of the guest, or a directory of devices, that a container gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Absolute path in the guest's own `/dev`.
    pub path: String,
    /// Absolute path in the container.
    pub destination: String,
    /// What it may be used for: letters of `rwm` (read, write, make nodes of it).
    pub access: String,
}

/// A file system mounted into a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Kind of file system.
    #[serde(rename = "type")]
    pub kind: MountKind,
    /// Path on the host, or of the volume's image; `tmpfs` for one of those.
    pub source: String,
    /// Absolute path in the container.
    pub destination: String,
    /// `ro`, `size=…` and the like.
    #[serde(default)]
    pub options: Vec<String>,
}

impl Mount {
    /// Whether `ro` is the last word on it.
    pub fn is_read_only(&self) -> bool {
        let mut options = self.options.iter().rev();
        options
            .find(|option| matches!(option.as_str(), "ro" | "rw"))
            .is_some_and(|option| option == "ro")
    }
}

/// Kind of a [`Mount`]. An enum value is an object with one key, as Swift writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MountKind {
    /// Memory of the guest.
    Tmpfs {},
    /// A directory or a file of the host.
    Virtiofs {},
    /// A named volume.
    Volume {
        /// Volume's name.
        name: String,
        /// `ext4`.
        format: String,
    },
}

/// A port of the host that leads into a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishPort {
    /// Address listened at.
    pub host_address: String,
    /// No address was asked for: it is every one of the host, of IPv6 as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub every_address: bool,
    /// First port on the host; 0: each start chooses free ones.
    pub host_port: u16,
    /// First port in the container.
    pub container_port: u16,
    /// `tcp` or `udp`.
    pub proto: String,
    /// Length of the range.
    pub count: u16,
}

/// A socket of the container that appears on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishSocket {
    /// Path in the container.
    pub container_path: String,
    /// Path on the host.
    pub host_path: String,
    /// Mode bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<u32>,
}

/// A network a container asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentConfiguration {
    /// Network's name.
    pub network: String,
    /// The container's side of it.
    pub options: AttachmentOptions,
}

/// The container's side of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentOptions {
    /// Name in that network.
    #[serde(default)]
    pub hostname: String,
    /// Address that it has in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_address: Option<Ipv4Addr>,
    /// Address that it has in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<Ipv6Addr>,
    /// Further names in that network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// What it may reach outside of the network, absent: what the network lets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<EgressRule>>,
    /// Nobody asked for this network: where the host can have none, the container starts without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub implied: bool,
    /// `xx:xx:xx:xx:xx:xx`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
    /// Bytes, 1280 to 65535.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

/// What goes into `resolv.conf`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsConfiguration {
    /// Addresses.
    pub nameservers: Vec<String>,
    /// Local domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Domains that short names are tried in.
    pub search_domains: Vec<String>,
    /// `resolv.conf(5)` options.
    pub options: Vec<String>,
}

/// A line of `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostEntry {
    /// Name.
    pub hostname: String,
    /// Its address, or [`crate::host_entry::HOST_GATEWAY`].
    pub address: String,
}

/// When a container is started again by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RestartPolicy {
    /// Never.
    No {},
    /// After a failure, at most `retries` times in a row (absent: without end).
    OnFailure {
        /// The most restarts in a row.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retries: Option<u32>,
    },
    /// Whenever it ends, and when the system starts.
    Always {},
    /// As `Always`, unless it was stopped by hand.
    UnlessStopped {},
}

/// How a container's health is checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// `["CMD", …]` or `["CMD-SHELL", line]`, as in the image specification's Healthcheck.
    pub test: Vec<String>,
    /// What runs the line of `CMD-SHELL`: the image's `Shell`; empty: `/bin/sh -c`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// Milliseconds between checks.
    pub interval_ms: u64,
    /// Milliseconds a check may take.
    pub timeout_ms: u64,
    /// Milliseconds after the start in which failures do not count.
    pub start_period_ms: u64,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}

/// How a container is to be treated, beside what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateOptions {
    /// Delete it when it has stopped.
    #[serde(default)]
    pub auto_remove: bool,
    /// Boot it cold even where a template fits.
    #[serde(default)]
    pub no_template: bool,
    /// Its first process has a standard input even while no client gives it any: one that attaches may.
    #[serde(default)]
    pub open_stdin: bool,
}

/// A sample of what a container uses. Counters are totals since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatistics {
    /// Container.
    pub id: String,
    /// Bytes of memory that the container uses, without page cache that it can give back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_usage_bytes: Option<u64>,
    /// Bytes that its control group holds, page cache and all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_current_bytes: Option<u64>,
    /// Bytes it may hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// Microseconds of CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_usage_usec: Option<u64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_rx_bytes: Option<u64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_tx_bytes: Option<u64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_read_bytes: Option<u64>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_write_bytes: Option<u64>,
    /// Processes in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_processes: Option<u64>,
    /// Bytes of the host's memory that the virtual machine takes (proportional set size).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_memory_bytes: Option<u64>,
    /// Microseconds in which some process waited for a CPU (PSI).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_pressure_usec: Option<u64>,
    /// Microseconds in which some process waited for memory (PSI).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_pressure_usec: Option<u64>,
    /// Microseconds in which some process waited for a disk (PSI).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_pressure_usec: Option<u64>,
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
