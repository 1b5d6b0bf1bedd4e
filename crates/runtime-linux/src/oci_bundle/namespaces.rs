//! The container's namespaces: those that keep it apart from the host are the machine, the others are the guest's.

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType as Type};
use serde_json::{Value, json};

use super::ConfigError;

const PROPERTY: &str = "linux.namespaces";

/// What a container is not to share with its host. Without `cgroup` it would see where its group is among the host's.
const APART: [(Type, &str); 5] = [
    (
        Type::Mount,
        "without `mount` the container would share the host's mounts",
    ),
    (
        Type::Pid,
        "without `pid` the container would share the host's processes",
    ),
    (
        Type::Network,
        "without `network` the container would share the host's network",
    ),
    (
        Type::Ipc,
        "without `ipc` the container would share the host's memory segments",
    ),
    (
        Type::Uts,
        "without `uts` the container would share the host's name",
    ),
];

/// What the guest makes in place of `asked`.
///
/// # Errors
/// Where the container would share something with the host, or with another container.
pub fn namespaces(asked: &[LinuxNamespace]) -> Result<Value, ConfigError> {
    let refuse = |reason| Err(ConfigError::unsupported(PROPERTY, reason));
    for namespace in asked {
        if namespace
            .path()
            .as_ref()
            .is_some_and(|path| !path.as_os_str().is_empty())
        {
            return refuse("a machine cannot join a namespace of the host (`path`)");
        }
        match namespace.typ() {
            Type::User => return refuse("the machine's users are the container's own (`user`)"),
            Type::Time => return refuse("the machine's clocks are the container's own (`time`)"),
            _ => {}
        }
    }
    for (kind, reason) in APART {
        if !asked.iter().any(|namespace| namespace.typ() == kind) {
            return refuse(reason);
        }
    }
    // The guest's network is the container's own.
    let made = ["pid", "mount", "uts", "ipc", "cgroup"];
    Ok(made.iter().map(|kind| json!({ "type": kind })).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(json: Value) -> Result<usize, String> {
        let asked: Vec<LinuxNamespace> = serde_json::from_value(json).unwrap();
        namespaces(&asked)
            .map(|made| made.as_array().unwrap().len())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_shared() {
        let usual = ["pid", "network", "ipc", "uts", "mount"].map(|kind| json!({ "type": kind }));
        assert_eq!(answer(json!(usual)), Ok(5));
        for index in 0..usual.len() {
            let mut fewer = usual.to_vec();
            fewer.remove(index);
            let error = answer(json!(fewer)).unwrap_err();
            assert!(error.contains("would share"), "{error}");
        }
        for (more, expected) in [
            (json!({"type": "user"}), "`user`"),
            (json!({"type": "time"}), "`time`"),
            (json!({"type": "network", "path": "/run/netns/x"}), "`path`"),
        ] {
            let mut list = usual.to_vec();
            list.push(more);
            assert!(answer(json!(list)).unwrap_err().contains(expected));
        }
    }
}
