use clap::Args;
use container_api::{Error, Kind};
use container_resource::container::PublishPort;
use container_resource::publish;

use super::inspect;
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Show where a container's ports are published
///
/// Prints a line for each published port: the container's port, and the host's address and port. If PORT is given, prints only the host's
/// address and port.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container port web
  curl http://$(container port web 80 | head -1)/")]
pub struct Port {
    /// Container
    #[arg(value_name = "CONTAINER", add = completion::containers())]
    id: String,

    /// Port of the container: <port>[/<protocol>]
    #[arg(value_name = "PORT", value_parser = publish::exposed)]
    port: Option<PublishPort>,
}

impl Port {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut containers = context.containers()?;
        let container = inspect::one(&mut containers, &self.id).await?;
        let ports = container.status.published_ports;
        let Some(wanted) = self.port else {
            return output::write_lines(ports.iter().flat_map(|port| lines(port, true)));
        };
        let single = |port: &PublishPort| single(port, wanted.container_port);
        let found: Vec<String> = ports
            .iter()
            .filter(|port| port.proto == wanted.proto)
            .filter_map(single)
            .flat_map(|port| lines(&port, false))
            .collect();
        if found.is_empty() {
            let text = format!(
                "no port of the host leads to {}/{} of container {}",
                wanted.container_port, wanted.proto, self.id
            );
            return Err(Failure::Service(Error::new(Kind::NotFound, text)));
        }
        output::write_lines(found)
    }
}

/// The part of `ports` that leads to the container's `port`.
fn single(ports: &PublishPort, port: u16) -> Option<PublishPort> {
    let offset = port
        .checked_sub(ports.container_port)
        .filter(|offset| *offset < ports.count)?;
    Some(PublishPort {
        host_port: ports.host_port.saturating_add(offset),
        container_port: port,
        count: 1,
        ..ports.clone()
    })
}

/// As docker shows them, a line for each port, at each family of addresses.
fn lines(ports: &PublishPort, with_container: bool) -> Vec<String> {
    let address = &ports.host_address;
    let mut addresses = vec![if address.contains(':') {
        format!("[{address}]")
    } else {
        address.clone()
    }];
    if ports.every_address {
        addresses.push("[::]".to_owned());
    }
    let mut lines = Vec::new();
    for offset in 0..ports.count {
        for address in &addresses {
            let host = ports.host_port.saturating_add(offset);
            let inside = ports.container_port.saturating_add(offset);
            lines.push(if with_container {
                format!("{inside}/{} -> {address}:{host}", ports.proto)
            } else {
                format!("{address}:{host}")
            });
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_docker_s() {
        let port = |text| publish::parse(text).unwrap();
        assert_eq!(
            lines(&port("8080:80"), true),
            ["80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080"]
        );
        assert_eq!(
            lines(&port("[::1]:53-54:53-54/udp"), true),
            ["53/udp -> [::1]:53", "54/udp -> [::1]:54"]
        );
        let part = single(&port("127.0.0.1:8000-8009:80-89"), 85).unwrap();
        assert_eq!(lines(&part, false), ["127.0.0.1:8005"]);
        assert_eq!(single(&port("8000-8009:80-89"), 90), None);
        assert_eq!(single(&port("8000-8009:80-89"), 79), None);
    }
}
