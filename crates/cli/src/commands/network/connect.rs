use std::net::{Ipv4Addr, Ipv6Addr};

use clap::Args;
use container_api::api::{JoinRequest, LeaveRequest};
use container_resource::attachment;
use container_resource::container::AttachmentConfiguration;

use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::{Policy, policy};
use crate::output;

/// Connect a container to another network
///
/// A running container is connected by an interface of its machine that is spare, or was disconnected. If the machine has none, stop the
/// container first.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container network connect --alias db backend web
  container network connect --egress allow=10.0.0.0/8:8000-8999/tcp backend web")]
pub struct Connect {
    /// Additional name of the container on the network
    #[arg(long = "alias", value_name = "NAME", value_parser = attachment::alias)]
    aliases: Vec<String>,

    /// Destinations that the container may reach outside of the network: none, or allow=<rule>[,<rule>]..., as with `network create`
    /// (default: what the network allows)
    #[arg(long, value_name = "EGRESS", value_parser = policy)]
    egress: Option<Policy>,

    /// IPv4 address (default: a free one)
    #[arg(long, value_name = "ADDRESS", value_parser = attachment::ipv4)]
    ip: Option<Ipv4Addr>,

    /// IPv6 address (default: a free one)
    #[arg(long, value_name = "ADDRESS", value_parser = attachment::ipv6)]
    ip6: Option<Ipv6Addr>,

    /// Network: <name>[,mac=<address>][,mtu=<bytes>], and the other options that --network of `container run` takes
    #[arg(value_name = "NETWORK", value_parser = network, add = completion::networks())]
    network: AttachmentConfiguration,

    /// Container
    #[arg(value_name = "CONTAINER", add = completion::containers())]
    container: String,
}

/// Disconnect a container from a network
///
/// The container may be running or stopped. Its addresses and names on the network become free.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container network disconnect backend web")]
pub struct Disconnect {
    /// Network
    #[arg(value_name = "NETWORK", add = completion::networks())]
    network: String,

    /// Container
    #[arg(value_name = "CONTAINER", add = completion::containers())]
    container: String,
}

impl Connect {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut attachment = self.network;
        let options = &mut attachment.options;
        attachment::add_aliases(options, self.aliases).map_err(Failure::usage)?;
        if let Some(rules) = self.egress {
            options.egress.get_or_insert_with(|| rules.to_vec());
        }
        options.ipv4_address = self.ip.or(options.ipv4_address);
        options.ipv6_address = self.ip6.or(options.ipv6_address);
        let request = JoinRequest {
            container: self.container,
            attachment: serde_json::to_vec(&attachment)?.into(),
        };
        context.networks()?.join(request).await?;
        Ok(())
    }
}

impl Disconnect {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let request = LeaveRequest {
            container: self.container,
            network: self.network,
        };
        let reply = context.networks()?.leave(request).await?.into_inner();
        for warning in &reply.warnings {
            output::tell(format_args!("Warning: {warning}"));
        }
        Ok(())
    }
}

fn network(text: &str) -> Result<AttachmentConfiguration, String> {
    match attachment::parse(text).map_err(|error| error.to_string())? {
        attachment::Choice::Network(attachment) => Ok(*attachment),
        attachment::Choice::None | attachment::Choice::Host => {
            Err("a network is expected".to_owned())
        }
    }
}
