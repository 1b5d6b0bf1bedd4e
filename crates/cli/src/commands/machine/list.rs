use clap::Args;
use container_resource::machine::MachineResource;
use container_resource::size::{self, MIB};

use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::FormatFlags;
use crate::output::{self, Table};

/// List machines
///
/// A star marks the default machine.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container machine list
  container machine list --format json | jq -r '.[] | select(.default).id'")]
pub struct List {
    #[command(flatten)]
    format: FormatFlags,

    /// Names only
    #[arg(short, long)]
    quiet: bool,
}

impl List {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let machines = super::list(context).await?;
        if self.quiet {
            return output::write_lines(machines.iter().map(|machine| &machine.id));
        }
        output::write(self.format.format, &machines, || table(&machines))
    }
}

fn table(machines: &[MachineResource]) -> Table {
    let mut table = Table::new([
        "NAME", "CREATED", "IP", "CPUS", "MEMORY", "DISK", "STATE", "DEFAULT",
    ]);
    for machine in machines {
        table.row([
            machine.id.clone(),
            machine.created_date.to_string(),
            machine.ip_address.clone().unwrap_or_default(),
            machine.cpus.to_string(),
            format!("{} MB", machine.memory / MIB),
            machine.disk_size.map(size::disk).unwrap_or_default(),
            machine.status.word().to_owned(),
            if machine.default { "*" } else { "" }.to_owned(),
        ]);
    }
    table
}
