//! The clusters: containers with this plugin's label.

use std::collections::BTreeMap;

use container_resource::container::ContainerState;
use container_resource::label::well_known;
use serde::{Deserialize, Serialize};

use crate::container::{Container, ContainerError};

/// The label that names the plugin that a container is of, and this plugin.
pub const LABEL: (&str, &str) = (well_known::PLUGIN, "k8s");
/// The port of a node at which the cluster's API is.
pub const API_PORT: u16 = 6443;

/// A container, as `container list --format json` shows it: what of it is looked at.
#[derive(Debug, Deserialize)]
struct Listed {
    id: String,
    configuration: Configuration,
    status: Status,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    resources: Resources,
    #[serde(default)]
    published_ports: Vec<Published>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resources {
    cpus: u32,
    memory_in_bytes: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Published {
    host_port: u16,
    container_port: u16,
}

#[derive(Debug, Deserialize)]
struct Status {
    state: ContainerState,
    #[serde(default)]
    networks: Vec<Attachment>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attachment {
    #[serde(default)]
    ipv4_address: String,
}

/// A cluster. Its one node has its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Name.
    pub name: String,
    /// State of its node.
    pub state: ContainerState,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Bytes.
    pub memory: u64,
    /// Address of its node, without prefix length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Port of the host at which its API is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// Why a cluster cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// There is no such cluster.
    #[error("cluster not found: {0}: `container k8s list` shows all clusters")]
    NotFound(String),
    /// The container of this name is something else.
    #[error("container {0} is no cluster")]
    Foreign(String),
    /// They cannot be listed.
    #[error(transparent)]
    Container(#[from] ContainerError),
}

/// All of them, by name.
///
/// # Errors
/// When the containers cannot be listed.
pub fn list(container: &Container) -> Result<Vec<Cluster>, ContainerError> {
    let mut clusters: Vec<_> = listed(container)?.into_iter().filter_map(cluster).collect();
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(clusters)
}

/// The one called `name`.
///
/// # Errors
/// When there is none.
pub fn find(container: &Container, name: &str) -> Result<Cluster, FindError> {
    let mut all = listed(container)?.into_iter();
    let found = all
        .find(|listed| listed.id == name)
        .ok_or_else(|| FindError::NotFound(name.to_owned()))?;
    cluster(found).ok_or_else(|| FindError::Foreign(name.to_owned()))
}

/// The state of the container `name`.
///
/// # Errors
/// When there is none, or it cannot be inspected.
pub fn state(container: &Container, name: &str) -> Result<ContainerState, FindError> {
    let text = container.read(["inspect", name])?;
    let mut inspected: Vec<Listed> =
        serde_json::from_str(&text).map_err(|error| ContainerError::Answer("inspect", error))?;
    let found = inspected.pop();
    found
        .map(|container| container.status.state)
        .ok_or_else(|| FindError::NotFound(name.to_owned()))
}

fn listed(container: &Container) -> Result<Vec<Listed>, ContainerError> {
    let all = container.read(["list", "--all", "--format", "json"])?;
    serde_json::from_str(&all).map_err(|error| ContainerError::Answer("list", error))
}

fn cluster(listed: Listed) -> Option<Cluster> {
    let configuration = listed.configuration;
    if configuration.labels.get(LABEL.0).map(String::as_str) != Some(LABEL.1) {
        return None;
    }
    let mut ports = configuration.published_ports.iter();
    let port = ports.find(|port| port.container_port == API_PORT);
    let address = listed.status.networks.first();
    let address = address.and_then(|network| network.ipv4_address.split('/').next());
    Some(Cluster {
        name: listed.id,
        state: listed.status.state,
        cpus: configuration.resources.cpus,
        memory: configuration.resources.memory_in_bytes,
        address: address
            .filter(|address| !address.is_empty())
            .map(str::to_owned),
        port: port.map(|port| port.host_port),
    })
}

#[cfg(test)]
pub mod tests {
    use std::path::Path;

    use super::*;

    /// Containers as `list` shows them: a cluster, and something else.
    const LIST: &str = r#"[
        {"id":"dev","configuration":{"labels":{"com.apple.container.plugin":"k8s"},"resources":{"cpus":2,"memoryInBytes":2147483648},
         "publishedPorts":[{"hostPort":6446,"containerPort":6443,"proto":"tcp"}]},
         "status":{"state":"running","networks":[{"ipv4Address":"10.1.2.3/24"}]}},
        {"id":"web","configuration":{"labels":{},"resources":{"cpus":1,"memoryInBytes":1}},"status":{"state":"stopped","networks":[]}}]"#;

    /// A `container` in `directory` that lists those and, for anything else, runs `script`; it writes down what it was asked.
    pub fn pretended(directory: &Path, script: &str) -> Container {
        let program = directory.join("container");
        let list = directory.join("list.json");
        std::fs::write(&list, LIST).unwrap();
        let asked = directory.join("asked");
        let text = format!(
            "#!/bin/sh\necho \"$*\" >> {}\nif [ \"$1\" = list ]; then cat {}; exit; fi\n{script}\n",
            asked.display(),
            list.display()
        );
        // Written by a process of its own: one that another test starts meanwhile would hold it open for writing.
        let draft = directory.join("draft");
        std::fs::write(&draft, text).unwrap();
        let mut install = std::process::Command::new("install");
        let installed = install.arg("-m755").args([&draft, &program]).status();
        assert!(installed.unwrap().success());
        Container::at(program)
    }

    /// What it was asked.
    pub fn asked(directory: &Path) -> String {
        std::fs::read_to_string(directory.join("asked")).unwrap_or_default()
    }

    #[test]
    fn a_cluster_is_a_container_with_the_label() {
        let scratch = tempfile::tempdir().unwrap();
        let container = pretended(scratch.path(), "exit 1");
        let clusters = list(&container).unwrap();
        let expected = Cluster {
            name: "dev".into(),
            state: ContainerState::Running,
            cpus: 2,
            memory: 2 << 30,
            address: Some("10.1.2.3".into()),
            port: Some(6446),
        };
        assert_eq!(clusters, std::slice::from_ref(&expected));
        assert_eq!(find(&container, "dev").unwrap(), expected);
        for (name, text) in [
            ("web", "container web is no cluster"),
            ("none", "cluster not found: none: "),
        ] {
            let error = find(&container, name).unwrap_err().to_string();
            assert!(error.starts_with(text), "{error}");
        }
        std::fs::write(scratch.path().join("list.json"), "[").unwrap();
        let error = list(&container).unwrap_err().to_string();
        assert!(
            error.starts_with("`container list` did not answer"),
            "{error}"
        );
    }
}
