//! From what the container's configuration asks for to the OCI runtime specification the guest runs.

mod defaults;
mod devices;
mod mounts;
mod process;
mod seccomp;

use container_resource::container::ContainerConfiguration;
use container_resource::cpus::NANO;
use container_resource::hidden_path;
use container_resource::share::ServedError;
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Linux, LinuxBuilder, LinuxCpuBuilder, LinuxMemoryBuilder, LinuxNamespaceBuilder,
    LinuxNamespaceType, LinuxPidsBuilder, LinuxResourcesBuilder, LinuxSeccomp, RootBuilder, Spec,
    SpecBuilder,
};

pub use process::{process, user};

use crate::stdio::TerminalSize;

/// Microseconds of one CPU scheduling period (`cpu.max`, cgroup-v2.rst).
const CPU_PERIOD: u64 = 100_000;

/// Microseconds of a period that a group is given at least (kernel/sched/core.c, `min_cfs_quota_period`).
const MINIMUM_QUOTA: u64 = 1000;

/// Why a configuration has no specification.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A value is out of the specification's range.
    #[error("the configuration does not make a runtime specification")]
    Build(#[source] OciSpecError),
    /// A capability that Linux does not have.
    #[error("unknown capability {0:?}")]
    Capability(String),
    /// A limit that Linux does not have.
    #[error("unknown resource limit {0:?}")]
    Rlimit(String),
    /// What it has of the host is more than there may be.
    #[error(transparent)]
    Shares(#[from] ServedError),
    /// The seccomp profile does not parse.
    #[error("the seccomp profile is not valid")]
    Seccomp(#[source] serde_json::Error),
}

impl From<OciSpecError> for SpecError {
    fn from(error: OciSpecError) -> Self {
        Self::Build(error)
    }
}

/// The `config.json` of a container; a terminal of its first process has `size`.
pub fn spec(
    configuration: &ContainerConfiguration,
    size: Option<TerminalSize>,
) -> Result<Spec, SpecError> {
    let hostname = configuration.hostname.as_ref().unwrap_or(&configuration.id);
    Ok(SpecBuilder::default()
        .version("1.2.0")
        .root(
            RootBuilder::default()
                .path("rootfs")
                .readonly(configuration.read_only)
                .build()?,
        )
        .hostname(hostname.clone())
        .process(process(configuration, &configuration.init_process, size)?)
        .mounts(mounts::mounts(configuration)?)
        .linux(linux(configuration)?)
        .build()?)
}

/// The same for one of which nothing runs: its root, and what is kept elsewhere.
pub fn idle_spec(configuration: &ContainerConfiguration) -> Result<serde_json::Value, SpecError> {
    Ok(serde_json::json!({
        "ociVersion": "1.2.0",
        "root": { "path": "rootfs", "readonly": configuration.read_only },
        "mounts": mounts::idle(configuration)?,
        "linux": { "namespaces": [{ "type": "mount" }] },
    }))
}

fn linux(configuration: &ContainerConfiguration) -> Result<Linux, SpecError> {
    // The guest's network and users are the container's own: the machine is the boundary.
    let namespaces = [
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Cgroup,
    ]
    .into_iter()
    .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
    .collect::<Result<Vec<_>, _>>()?;
    let paths = |chosen: &Option<Vec<String>>, default: &[&str]| {
        let default = if configuration.privileged {
            &[]
        } else {
            default
        };
        chosen
            .clone()
            .unwrap_or_else(|| default.iter().map(|path| (*path).to_owned()).collect())
    };
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .resources(resources(configuration)?)
        .cgroups_path(format!("/container/{}", configuration.id))
        .masked_paths(paths(&configuration.masked_paths, &hidden_path::MASKED))
        .readonly_paths(paths(
            &configuration.readonly_paths,
            &hidden_path::READ_ONLY,
        ))
        .build()?;
    linux.set_seccomp(seccomp(configuration)?);
    linux.set_devices(Some(devices::nodes(configuration)?));
    Ok(linux)
}

fn resources(
    configuration: &ContainerConfiguration,
) -> Result<oci_spec::runtime::LinuxResources, SpecError> {
    let size = &configuration.resources;
    let memory = i64::try_from(size.memory_in_bytes).unwrap_or(i64::MAX);
    let nano = size
        .nano_cpus
        .unwrap_or_else(|| NANO.saturating_mul(size.cpus.into()));
    // The kernel takes no less than a millisecond.
    let quota = (nano / (NANO / CPU_PERIOD)).max(MINIMUM_QUOTA);
    let quota = i64::try_from(quota).unwrap_or(i64::MAX);
    let mut resources = LinuxResourcesBuilder::default()
        .memory(LinuxMemoryBuilder::default().limit(memory).build()?)
        .cpu(
            LinuxCpuBuilder::default()
                .quota(quota)
                .period(CPU_PERIOD)
                .build()?,
        )
        .devices(devices::rules(configuration)?)
        .build()?;
    if let Some(limit) = configuration.pids_limit {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        resources.set_pids(Some(LinuxPidsBuilder::default().limit(limit).build()?));
    }
    Ok(resources)
}

fn seccomp(configuration: &ContainerConfiguration) -> Result<Option<LinuxSeccomp>, SpecError> {
    let Some(profile) = &configuration.seccomp_profile else {
        return Ok(None);
    };
    let capabilities = process::capabilities(configuration)?;
    let bounding = capabilities.bounding().clone().unwrap_or_default();
    seccomp::resolve(profile, &bounding)
        .map(Some)
        .map_err(SpecError::Seccomp)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A small configuration.
    pub fn configuration() -> ContainerConfiguration {
        serde_json::from_value(serde_json::json!({
            "id": "c1",
            "image": {"reference": "docker.io/library/busybox:latest",
                      "descriptor": {"mediaType": "m", "digest": "sha256:00", "size": 1}},
            "initProcess": {"executable": "sh", "arguments": ["-c", "true"], "environment": ["A=b"],
                            "workingDirectory": "/", "terminal": false, "user": {"id": {"uid": 0, "gid": 0}}},
            "platform": {"os": "linux", "architecture": "amd64"},
            "resources": {"cpus": 2, "memoryInBytes": 268_435_456_u64},
            "runtimeHandler": "container-runtime-linux",
            "creationDate": "2026-01-01T00:00:00Z"
        }))
        .unwrap()
    }

    fn json(configuration: &ContainerConfiguration) -> serde_json::Value {
        serde_json::to_value(spec(configuration, None).unwrap()).unwrap()
    }

    #[test]
    fn limits_are_the_containers() {
        let mut configuration = configuration();
        configuration.pids_limit = Some(7);
        let spec = json(&configuration);
        let resources = &spec["linux"]["resources"];
        assert_eq!(resources["memory"]["limit"], 268_435_456);
        assert_eq!(resources["cpu"]["quota"], 200_000);
        assert_eq!(resources["pids"]["limit"], 7);
        configuration.resources.nano_cpus = Some(1_500_000_000);
        let spec = json(&configuration);
        assert_eq!(spec["linux"]["resources"]["cpu"]["quota"], 150_000);
        assert_eq!(spec["hostname"], "c1");
    }

    #[test]
    fn paths_are_the_defaults_unless_chosen() {
        let mut configuration = configuration();
        assert_eq!(
            json(&configuration)["linux"]["maskedPaths"][0],
            "/proc/asound"
        );
        configuration.masked_paths = Some(vec![]);
        assert_eq!(
            json(&configuration)["linux"]["maskedPaths"],
            serde_json::json!([])
        );
    }

    #[test]
    fn only_a_terminal_has_a_size() {
        let mut configuration = configuration();
        let size = TerminalSize::told(41, 123);
        let shown = |configuration: &ContainerConfiguration| {
            let spec = serde_json::to_value(spec(configuration, size).unwrap()).unwrap();
            spec["process"]["consoleSize"].clone()
        };
        assert_eq!(shown(&configuration), serde_json::Value::Null);
        configuration.init_process.terminal = true;
        let expected = serde_json::json!({"height": 41, "width": 123});
        assert_eq!(shown(&configuration), expected);
        assert_eq!(TerminalSize::told(0, 80), None);
        assert_eq!(TerminalSize::told(24, 65_536), None);
    }

    #[test]
    fn nothing_is_hidden_from_the_privileged_unless_asked() {
        let mut configuration = configuration();
        configuration.privileged = true;
        configuration.readonly_paths = Some(vec!["/proc/sys".into()]);
        let linux = &json(&configuration)["linux"];
        assert_eq!(linux["maskedPaths"], serde_json::json!([]));
        assert_eq!(linux["readonlyPaths"], serde_json::json!(["/proc/sys"]));
        assert_eq!(linux["resources"]["devices"][0]["allow"], true);
    }

    #[test]
    fn namespaces_leave_network_and_users_to_the_machine() {
        let spec = json(&configuration());
        let kinds: Vec<_> = spec["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| &n["type"])
            .collect();
        assert_eq!(kinds, ["pid", "mount", "uts", "ipc", "cgroup"]);
    }
}
