use clap::Args;
use container_resource::container::{ContainerStatus, HealthState, ManagedContainer};
use container_resource::size::MIB;
use jiff::{Timestamp, Unit};

use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::FormatFlags;
use crate::output::{self, Table};
use crate::select;

/// List containers
///
/// Lists running containers; with --all, also stopped ones.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  Running containers:
    container list

  Ids of all containers:
    container list --all --quiet

  For programs:
    container list --all --format json")]
pub struct List {
    /// Also list containers that do not run
    #[arg(short, long)]
    all: bool,

    #[command(flatten)]
    format: FormatFlags,

    /// Ids only
    #[arg(short, long)]
    quiet: bool,
}

impl List {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut client = context.containers()?;
        let mut containers = select::list(&mut client, &[]).await?;
        if !self.all {
            containers.retain(select::is_live);
        }
        if self.quiet {
            return output::write_lines(containers.iter().map(|container| &container.id));
        }
        let containers: Vec<ManagedContainer> = containers.into_iter().map(shown).collect();
        output::write(self.format.format, &containers, || table(&containers))
    }
}

fn table(containers: &[ManagedContainer]) -> Table {
    let mut table = Table::new([
        "ID", "IMAGE", "OS", "ARCH", "STATE", "IP", "CPUS", "MEMORY", "STARTED",
    ]);
    for container in containers {
        let configuration = &container.configuration;
        let addresses: Vec<&str> = container
            .status
            .networks
            .iter()
            .map(|network| network.ipv4_address.as_str())
            .collect();
        table.row([
            container.id.clone(),
            configuration.image.reference.clone(),
            configuration.platform.os.clone(),
            configuration.platform.architecture.clone(),
            state_and_health(&container.status),
            addresses.join(","),
            configuration.resources.cpus.to_string(),
            format!("{} MB", configuration.resources.memory_in_bytes / MIB),
            container
                .status
                .started_date
                .map(|date| date.to_string())
                .unwrap_or_default(),
        ]);
    }
    table
}

/// The state, with what the health check says of a running container, or that it stands still.
fn state_and_health(status: &ContainerStatus) -> String {
    let state = status.state.word();
    if let Some(why) = status.standstill {
        return format!("{state} ({})", why.label());
    }
    match status.health {
        Some(HealthState::Starting) => format!("{state} (starting)"),
        Some(HealthState::Healthy) => format!("{state} (healthy)"),
        Some(HealthState::Unhealthy) => format!("{state} (unhealthy)"),
        None => state.to_owned(),
    }
}

/// A date in whole seconds, as programs written for Apple's tool expect.
pub fn whole(date: Timestamp) -> Timestamp {
    date.round(
        jiff::TimestampRound::new()
            .smallest(Unit::Second)
            .mode(jiff::RoundMode::Trunc),
    )
    .unwrap_or(date)
}

/// A container as it is shown.
pub fn shown(mut container: ManagedContainer) -> ManagedContainer {
    let status = &mut container.status;
    status.started_date = status.started_date.map(whole);
    status.exited_date = status.exited_date.map(whole);
    container.configuration.creation_date = whole(container.configuration.creation_date);
    container
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container() -> ManagedContainer {
        let literal = json!({
            "id": "web",
            "configuration": {
                "id": "web",
                "image": {
                    "reference": "docker.io/library/busybox:latest",
                    "descriptor": {
                        "mediaType": "application/vnd.oci.image.index.v1+json", "digest": "sha256:00", "size": 7
                    }
                },
                "initProcess": {
                    "executable": "sh", "arguments": [], "environment": ["PATH=/bin"], "workingDirectory": "/",
                    "terminal": false, "user": {"id": {"uid": 0, "gid": 0}}
                },
                "platform": {"os": "linux", "architecture": "amd64"},
                "resources": {"cpus": 4, "memoryInBytes": 1_073_741_824_u64},
                "runtimeHandler": "container-runtime-linux",
                "creationDate": "2026-01-02T03:04:05.678Z"
            },
            "status": {"state": "running", "networks": [], "startedDate": "2026-01-02T03:04:06.9Z"}
        });
        serde_json::from_value(literal).unwrap()
    }

    #[test]
    fn the_table_is_the_reference_s() {
        assert_eq!(
            table(&[shown(container())]).render(),
            "ID   IMAGE                             OS     ARCH   STATE    IP  CPUS  MEMORY   STARTED\n\
             web  docker.io/library/busybox:latest  linux  amd64  running      4     1024 MB  2026-01-02T03:04:06Z\n"
        );
    }

    #[test]
    fn json_has_apple_s_keys_and_dates() {
        let value = serde_json::to_value(shown(container())).unwrap();
        assert_eq!(
            value["configuration"]["creationDate"],
            "2026-01-02T03:04:05Z"
        );
        assert_eq!(value["status"]["startedDate"], "2026-01-02T03:04:06Z");
        let keys: Vec<&String> = value["configuration"].as_object().unwrap().keys().collect();
        let expected = [
            "capAdd",
            "capDrop",
            "creationDate",
            "id",
            "image",
            "initProcess",
            "labels",
            "mounts",
            "networks",
            "platform",
            "publishedPorts",
            "publishedSockets",
            "readOnly",
            "resources",
            "rosetta",
            "runtimeHandler",
            "ssh",
            "sysctls",
            "useInit",
            "virtualization",
        ];
        assert_eq!(keys, expected);
    }
}
