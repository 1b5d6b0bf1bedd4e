//! The properties of a `config.json`: which are carried out, which are refused, which nobody knows.
//!
//! A path has a point before each name and `[]` behind a list. What stands below a path that is carried out is carried out with it.

use serde_json::Value;

use super::ConfigError;

/// Carried out: by the guest as they stand, or by the modules beside this one.
const CARRIED_OUT: &[&str] = &[
    "ociVersion",
    // Means nothing to a runtime that does not know it (config.md, "Annotations").
    "annotations",
    "hostname",
    "domainname",
    "root.path",
    "root.readonly",
    "mounts[].destination",
    "mounts[].type",
    "mounts[].source",
    "mounts[].options",
    "process.terminal",
    "process.consoleSize.height",
    "process.consoleSize.width",
    "process.cwd",
    "process.env",
    "process.args",
    "process.rlimits[].type",
    "process.rlimits[].soft",
    "process.rlimits[].hard",
    "process.capabilities.bounding",
    "process.capabilities.effective",
    "process.capabilities.permitted",
    "process.capabilities.inheritable",
    "process.capabilities.ambient",
    "process.noNewPrivileges",
    "process.oomScoreAdj",
    "process.user.uid",
    "process.user.gid",
    "process.user.umask",
    "process.user.additionalGids",
    "linux.namespaces[].type",
    "linux.namespaces[].path",
    "linux.devices[].type",
    "linux.devices[].path",
    "linux.devices[].major",
    "linux.devices[].minor",
    "linux.devices[].fileMode",
    "linux.devices[].uid",
    "linux.devices[].gid",
    // The machine's control group is the container's alone, wherever the host's would have been.
    "linux.cgroupsPath",
    "linux.sysctl",
    "linux.maskedPaths",
    "linux.readonlyPaths",
    "linux.rootfsPropagation",
    "linux.resources.devices[].allow",
    "linux.resources.devices[].type",
    "linux.resources.devices[].major",
    "linux.resources.devices[].minor",
    "linux.resources.devices[].access",
    "linux.resources.memory.limit",
    "linux.resources.memory.reservation",
    "linux.resources.memory.swap",
    "linux.resources.cpu.shares",
    "linux.resources.cpu.quota",
    "linux.resources.cpu.burst",
    "linux.resources.cpu.period",
    "linux.resources.cpu.idle",
    "linux.resources.pids.limit",
    "linux.resources.blockIO.weight",
    "linux.resources.hugepageLimits[].pageSize",
    "linux.resources.hugepageLimits[].limit",
    "linux.resources.unified",
    "linux.seccomp.defaultAction",
    "linux.seccomp.defaultErrnoRet",
    "linux.seccomp.architectures",
    "linux.seccomp.flags",
    "linux.seccomp.syscalls[].names",
    "linux.seccomp.syscalls[].action",
    "linux.seccomp.syscalls[].errnoRet",
    "linux.seccomp.syscalls[].args[].index",
    "linux.seccomp.syscalls[].args[].value",
    "linux.seccomp.syscalls[].args[].valueTwo",
    "linux.seccomp.syscalls[].args[].op",
];

const ANOTHER_PLATFORM: &str = "it is for another platform than Linux";
const HOST_DEVICE: &str = "a machine has no devices of the host";
const HOST_CPU: &str = "a machine has virtual CPUs, which have other numbers";
const NO_CGROUP_V2: &str = "control groups of version 2 have no such setting";
const MODULE: &str = "the guest's kernel has no such security module";
const MACHINE: &str = "a machine is already apart from the host's users";
const NOT_IN_GUEST: &str = "the guest does not carry it out";

/// What the specification knows (1.0 to 1.3) and a machine does not carry out, with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("hooks", "programs of the host cannot enter a machine"),
    ("windows", ANOTHER_PLATFORM),
    ("solaris", ANOTHER_PLATFORM),
    ("zos", ANOTHER_PLATFORM),
    ("freebsd", ANOTHER_PLATFORM),
    ("vm", "the machine's kernel and VMM are this program's own"),
    ("mounts[].uidMappings", MACHINE),
    ("mounts[].gidMappings", MACHINE),
    ("process.commandLine", ANOTHER_PLATFORM),
    ("process.user.username", ANOTHER_PLATFORM),
    ("process.apparmorProfile", MODULE),
    ("process.selinuxLabel", MODULE),
    ("process.ioPriority", NOT_IN_GUEST),
    ("process.scheduler", NOT_IN_GUEST),
    ("process.execCPUAffinity", HOST_CPU),
    ("linux.uidMappings", MACHINE),
    ("linux.gidMappings", MACHINE),
    ("linux.timeOffsets", NOT_IN_GUEST),
    ("linux.netDevices", HOST_DEVICE),
    ("linux.intelRdt", HOST_CPU),
    ("linux.personality", NOT_IN_GUEST),
    ("linux.memoryPolicy", HOST_CPU),
    ("linux.mountLabel", MODULE),
    (
        "linux.seccomp.listenerPath",
        "a process of the host cannot answer for a machine's system calls",
    ),
    (
        "linux.seccomp.listenerMetadata",
        "a process of the host cannot answer for a machine's system calls",
    ),
    ("linux.resources.network", NO_CGROUP_V2),
    ("linux.resources.rdma", HOST_DEVICE),
    ("linux.resources.memory.kernel", NO_CGROUP_V2),
    ("linux.resources.memory.kernelTCP", NO_CGROUP_V2),
    ("linux.resources.memory.swappiness", NO_CGROUP_V2),
    ("linux.resources.memory.disableOOMKiller", NO_CGROUP_V2),
    ("linux.resources.memory.useHierarchy", NO_CGROUP_V2),
    ("linux.resources.memory.checkBeforeUpdate", NOT_IN_GUEST),
    ("linux.resources.cpu.realtimeRuntime", NO_CGROUP_V2),
    ("linux.resources.cpu.realtimePeriod", NO_CGROUP_V2),
    ("linux.resources.cpu.cpus", HOST_CPU),
    ("linux.resources.cpu.mems", HOST_CPU),
    ("linux.resources.blockIO.leafWeight", NO_CGROUP_V2),
    ("linux.resources.blockIO.weightDevice", HOST_DEVICE),
    ("linux.resources.blockIO.throttleReadBpsDevice", HOST_DEVICE),
    (
        "linux.resources.blockIO.throttleWriteBpsDevice",
        HOST_DEVICE,
    ),
    (
        "linux.resources.blockIO.throttleReadIOPSDevice",
        HOST_DEVICE,
    ),
    (
        "linux.resources.blockIO.throttleWriteIOPSDevice",
        HOST_DEVICE,
    ),
];

/// The most unknown properties that are told of.
const MAX_UNKNOWN: usize = 100;

/// Paths of the properties of `config` that the specification does not know.
///
/// # Errors
/// The first one that is set and cannot be carried out.
pub fn unknown(config: &Value) -> Result<Vec<String>, ConfigError> {
    let mut unknown = Vec::new();
    let mut waiting = vec![(String::new(), config)];
    while let Some((path, value)) = waiting.pop() {
        match value {
            Value::Object(members) => {
                for (name, value) in members.iter().filter(|(_, value)| is_set(value)) {
                    let path = if path.is_empty() {
                        name.clone()
                    } else {
                        format!("{path}.{name}")
                    };
                    match meaning(&path) {
                        Meaning::CarriedOut => {}
                        Meaning::Refused(reason) => {
                            return Err(ConfigError::unsupported(path, reason));
                        }
                        Meaning::HasParts => waiting.push((path, value)),
                        Meaning::Unknown => {
                            if unknown.len() < MAX_UNKNOWN {
                                unknown.push(path);
                            }
                        }
                    }
                }
            }
            Value::Array(members) => {
                let path = format!("{path}[]");
                waiting.extend(members.iter().map(|value| (path.clone(), value)));
            }
            // Of another type than the specification says: told when it is read as one.
            _ => {}
        }
    }
    unknown.sort();
    unknown.dedup();
    Ok(unknown)
}

enum Meaning {
    CarriedOut,
    Refused(&'static str),
    HasParts,
    Unknown,
}

fn meaning(path: &str) -> Meaning {
    if CARRIED_OUT.contains(&path) {
        return Meaning::CarriedOut;
    }
    if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == path) {
        return Meaning::Refused(reason);
    }
    let has_parts = CARRIED_OUT.iter().any(|known| {
        known
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('.') || rest.starts_with("[]"))
    });
    if has_parts {
        Meaning::HasParts
    } else {
        Meaning::Unknown
    }
}

/// Go programs write what is not set as null, or as empty.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(members) => !members.is_empty(),
        Value::Object(members) => members.values().any(is_set),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_refused_is_named() {
        for (path, reason) in REFUSED {
            let mut value = json!("x");
            for name in path.rsplit('.') {
                value = match name.strip_suffix("[]") {
                    Some(name) => json!({ name: [value] }),
                    None => json!({ name: value }),
                };
            }
            let error = unknown(&value).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("config.json: `{path}` is not supported: {reason}")
            );
        }
    }

    #[test]
    fn what_is_empty_is_not_set() {
        let config = json!({
            "hooks": {"prestart": []},
            "windows": null,
            "process": {"apparmorProfile": "", "selinuxLabel": null},
            "linux": {"uidMappings": [], "resources": {"memory": {"disableOOMKiller": false}}},
        });
        assert_eq!(unknown(&config).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_nobody_knows_is_told_of() {
        let config = json!({
            "annotations": {"a.b": "c"},
            "process": {"args": ["x"], "colour": "red"},
            "mounts": [{"destination": "/a", "flavour": 1}, {"destination": "/b", "flavour": 2}],
            "future": {"x": 1},
            "linux": {"sysctl": {"net.core.somaxconn": "1"}},
        });
        assert_eq!(
            unknown(&config).unwrap(),
            ["future", "mounts[].flavour", "process.colour"]
        );
    }
}
