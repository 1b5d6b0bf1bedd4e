use clap::Args;
use container_resource::network_status::ManagedNetwork;

use super::find;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::FormatFlags;
use crate::output::{self, Table};

/// List networks
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container network list
  container network list --format json")]
pub struct List {
    #[command(flatten)]
    format: FormatFlags,

    /// Names only
    #[arg(short, long)]
    quiet: bool,
}

impl List {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let networks = find(context, &[], false).await?;
        if self.quiet {
            return output::write_lines(networks.iter().map(|network| &network.id));
        }
        output::write(self.format.format, &networks, || table(&networks))
    }
}

fn table(networks: &[ManagedNetwork]) -> Table {
    let mut table = Table::new(["NETWORK", "SUBNET"]);
    for network in networks {
        table.row([
            network.id.clone(),
            network
                .status
                .ipv4_subnet
                .map(|subnet| subnet.to_string())
                .unwrap_or_default(),
        ]);
    }
    table
}
