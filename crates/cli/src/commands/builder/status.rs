use clap::Args;
use container_resource::container::ManagedContainer;
use container_resource::size::MIB;
use serde::Serialize;

use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::FormatFlags;
use crate::output::{self, Format, Table};

/// Show the builders
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container builder status
  container builder status --format json")]
pub struct Status {
    #[command(flatten)]
    format: FormatFlags,

    /// Names only
    #[arg(short, long)]
    quiet: bool,
}

/// A builder as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    id: String,
    image: String,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_address: Option<String>,
    cpus: u32,
    memory_in_bytes: u64,
}

impl Status {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let builders: Vec<Shown> = super::list(context).await?.into_iter().map(show).collect();
        if self.quiet {
            return output::write_lines(builders.iter().map(|builder| &builder.id));
        }
        // As Apple's tool says it.
        if builders.is_empty() && self.format.format == Format::Table {
            return output::write_lines(["builder is not running"]);
        }
        output::write(self.format.format, &builders, || table(&builders))
    }
}

fn show(container: ManagedContainer) -> Shown {
    let configuration = container.configuration;
    let network = container.status.networks.into_iter().next();
    Shown {
        id: container.id,
        image: configuration.image.reference,
        state: container.status.state.word().to_owned(),
        ip_address: network.map(|network| network.ipv4_address),
        cpus: configuration.resources.cpus,
        memory_in_bytes: configuration.resources.memory_in_bytes,
    }
}

fn table(builders: &[Shown]) -> Table {
    let mut table = Table::new(["ID", "IMAGE", "STATE", "IP", "CPUS", "MEMORY"]);
    for builder in builders {
        table.row([
            builder.id.clone(),
            builder.image.clone(),
            builder.state.clone(),
            builder.ip_address.clone().unwrap_or_default(),
            builder.cpus.to_string(),
            format!("{} MB", builder.memory_in_bytes / MIB),
        ]);
    }
    table
}
