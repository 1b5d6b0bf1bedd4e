//! The part of the OCI runtime specification's config.json (runtime-spec 1.2) that the guest carries out.
//!
//! Every field that changes what a process may do is listed, so that [`Spec::unsupported`] can refuse what is
//! not carried out instead of ignoring it. Written here rather than taken from a crate because those types
//! cover every platform and bring a regular expression engine into each guest's memory.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

/// config.json.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub process: Process,
    pub root: Root,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    #[serde(deserialize_with = "nullable")]
    pub mounts: Vec<Mount>,
    #[serde(deserialize_with = "nullable")]
    hooks: BTreeMap<String, Vec<IgnoredAny>>,
    #[serde(deserialize_with = "nullable")]
    pub linux: Linux,
}

/// `root`; its `path` has no meaning here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Root {
    pub readonly: bool,
}

/// `process`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Process {
    pub terminal: bool,
    pub console_size: Option<ConsoleSize>,
    pub user: User,
    #[serde(deserialize_with = "nullable")]
    pub args: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub env: Vec<String>,
    pub cwd: String,
    pub capabilities: Option<Capabilities>,
    #[serde(deserialize_with = "nullable")]
    pub rlimits: Vec<Rlimit>,
    pub no_new_privileges: bool,
    pub oom_score_adj: Option<i32>,
    apparmor_profile: Option<String>,
    selinux_label: Option<String>,
    io_priority: Option<IgnoredAny>,
    scheduler: Option<IgnoredAny>,
    #[serde(rename = "execCPUAffinity")]
    exec_cpu_affinity: Option<IgnoredAny>,
}

/// `process.consoleSize`, in characters.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct ConsoleSize {
    pub height: u16,
    pub width: u16,
}

/// `process.user`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub umask: Option<u32>,
    #[serde(deserialize_with = "nullable")]
    pub additional_gids: Vec<u32>,
}

/// `process.capabilities`; names with or without `CAP_`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    #[serde(deserialize_with = "nullable")]
    pub bounding: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub effective: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub permitted: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub inheritable: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub ambient: Vec<String>,
}

/// `process.rlimits[]`.
#[derive(Debug, Deserialize)]
pub struct Rlimit {
    #[serde(rename = "type")]
    pub kind: String,
    pub soft: u64,
    pub hard: u64,
}

/// `mounts[]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Mount {
    pub destination: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub source: String,
    #[serde(deserialize_with = "nullable")]
    pub options: Vec<String>,
}

/// `linux`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Linux {
    #[serde(deserialize_with = "nullable")]
    pub namespaces: Vec<Namespace>,
    #[serde(deserialize_with = "nullable")]
    pub devices: Vec<Device>,
    #[serde(deserialize_with = "nullable")]
    pub sysctl: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    pub resources: Resources,
    pub seccomp: Option<Seccomp>,
    pub rootfs_propagation: Option<String>,
    #[serde(deserialize_with = "nullable")]
    pub masked_paths: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub readonly_paths: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    uid_mappings: Vec<IgnoredAny>,
    #[serde(deserialize_with = "nullable")]
    gid_mappings: Vec<IgnoredAny>,
    mount_label: Option<String>,
    intel_rdt: Option<IgnoredAny>,
    personality: Option<IgnoredAny>,
    memory_policy: Option<IgnoredAny>,
    net_devices: Option<IgnoredAny>,
    time_offsets: Option<IgnoredAny>,
}

/// `linux.namespaces[]`.
#[derive(Debug, Deserialize)]
pub struct Namespace {
    #[serde(rename = "type")]
    pub kind: String,
    pub path: Option<String>,
}

/// `linux.devices[]`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    pub path: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub major: u32,
    #[serde(default)]
    pub minor: u32,
    pub file_mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

/// `linux.resources`, as far as cgroup v2 has a counterpart.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    #[serde(deserialize_with = "nullable")]
    pub devices: Vec<DeviceRule>,
    #[serde(deserialize_with = "nullable")]
    pub memory: Memory,
    #[serde(deserialize_with = "nullable")]
    pub cpu: Cpu,
    pub pids: Option<Pids>,
    #[serde(rename = "blockIO", deserialize_with = "nullable")]
    pub block_io: BlockIo,
    #[serde(deserialize_with = "nullable")]
    pub hugepage_limits: Vec<HugepageLimit>,
    #[serde(deserialize_with = "nullable")]
    pub unified: BTreeMap<String, String>,
}

/// `linux.resources.devices[]`; an absent number or type matches any.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct DeviceRule {
    pub allow: bool,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub major: Option<i64>,
    pub minor: Option<i64>,
    pub access: Option<String>,
}

/// `linux.resources.memory`, in bytes; -1 is unlimited.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Memory {
    pub limit: Option<i64>,
    pub reservation: Option<i64>,
    pub swap: Option<i64>,
}

/// `linux.resources.cpu`; times in microseconds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cpu {
    pub shares: Option<u64>,
    pub quota: Option<i64>,
    pub period: Option<u64>,
    pub burst: Option<u64>,
    pub idle: Option<i64>,
    pub cpus: Option<String>,
    pub mems: Option<String>,
}

/// `linux.resources.pids`; zero and less are unlimited.
#[derive(Debug, Deserialize)]
pub struct Pids {
    pub limit: i64,
}

/// `linux.resources.blockIO`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockIo {
    pub weight: Option<u16>,
    #[serde(deserialize_with = "nullable")]
    pub throttle_read_bps_device: Vec<Throttle>,
    #[serde(deserialize_with = "nullable")]
    pub throttle_write_bps_device: Vec<Throttle>,
    #[serde(rename = "throttleReadIOPSDevice", deserialize_with = "nullable")]
    pub throttle_read_iops_device: Vec<Throttle>,
    #[serde(rename = "throttleWriteIOPSDevice", deserialize_with = "nullable")]
    pub throttle_write_iops_device: Vec<Throttle>,
}

/// A rate per second for one block device.
#[derive(Debug, Deserialize)]
pub struct Throttle {
    pub major: u32,
    pub minor: u32,
    pub rate: u64,
}

/// `linux.resources.hugepageLimits[]`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HugepageLimit {
    pub page_size: String,
    pub limit: u64,
}

/// `linux.seccomp`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seccomp {
    pub default_action: String,
    pub default_errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "nullable")]
    pub architectures: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub flags: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub syscalls: Vec<SeccompRule>,
    #[serde(default, deserialize_with = "nullable")]
    pub listener_path: String,
}

/// `linux.seccomp.syscalls[]`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeccompRule {
    pub names: Vec<String>,
    pub action: String,
    pub errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "nullable")]
    pub args: Vec<SeccompArg>,
}

/// `linux.seccomp.syscalls[].args[]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeccompArg {
    pub index: u32,
    pub value: u64,
    #[serde(default)]
    pub value_two: u64,
    pub op: String,
}

impl Spec {
    /// Name of the first field that is set and that the guest does not carry out.
    pub fn unsupported(&self) -> Option<&'static str> {
        let linux = &self.linux;
        let set = |label: &Option<String>| label.as_deref().is_some_and(|label| !label.is_empty());
        [
            (self.hooks.values().any(|hooks| !hooks.is_empty()), "hooks"),
            (!linux.uid_mappings.is_empty(), "linux.uidMappings"),
            (!linux.gid_mappings.is_empty(), "linux.gidMappings"),
            (set(&linux.mount_label), "linux.mountLabel"),
            (linux.intel_rdt.is_some(), "linux.intelRdt"),
            (linux.personality.is_some(), "linux.personality"),
            (linux.memory_policy.is_some(), "linux.memoryPolicy"),
            (linux.net_devices.is_some(), "linux.netDevices"),
            (linux.time_offsets.is_some(), "linux.timeOffsets"),
        ]
        .into_iter()
        .find_map(|(is_set, name)| is_set.then_some(name))
        .or_else(|| self.process.unsupported())
    }
}

impl Process {
    /// Name of the first field that is set and that the guest does not carry out.
    pub fn unsupported(&self) -> Option<&'static str> {
        let set = |label: &Option<String>| label.as_deref().is_some_and(|label| !label.is_empty());
        [
            (set(&self.apparmor_profile), "process.apparmorProfile"),
            (set(&self.selinux_label), "process.selinuxLabel"),
            (self.io_priority.is_some(), "process.ioPriority"),
            (self.scheduler.is_some(), "process.scheduler"),
            (self.exec_cpu_affinity.is_some(), "process.execCPUAffinity"),
        ]
        .into_iter()
        .find_map(|(is_set, name)| is_set.then_some(name))
    }
}

/// Go programs write an empty list as `null`.
fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_an_empty_list() {
        let spec: Spec = serde_json::from_str(
            r#"{"process":{"args":null,"env":["A=b"],"cwd":"/"},"mounts":null,"linux":{"maskedPaths":null}}"#,
        )
        .unwrap();
        assert!(spec.process.args.is_empty());
        assert_eq!(spec.process.env, ["A=b"]);
        assert_eq!(spec.unsupported(), None);
    }

    #[test]
    fn what_is_not_carried_out_is_named() {
        for (json, field) in [
            (r#"{"hooks":{"prestart":[{"path":"/x"}]}}"#, "hooks"),
            (
                r#"{"process":{"scheduler":{"policy":"SCHED_FIFO"}}}"#,
                "process.scheduler",
            ),
            (
                r#"{"process":{"apparmorProfile":"p"}}"#,
                "process.apparmorProfile",
            ),
            (r#"{"linux":{"uidMappings":[{}]}}"#, "linux.uidMappings"),
            (
                r#"{"linux":{"personality":{"domain":"LINUX32"}}}"#,
                "linux.personality",
            ),
        ] {
            let spec: Spec = serde_json::from_str(json).unwrap();
            assert_eq!(spec.unsupported(), Some(field));
        }
        let empty: Spec = serde_json::from_str(r#"{"hooks":{"prestart":[]}}"#).unwrap();
        assert_eq!(empty.unsupported(), None);
    }
}
