use clap::Args;
use container_resource::volume::VolumeResource;

use super::list;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::FormatFlags;
use crate::output::{self, Table};

/// List volumes
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container volume list
  container volume list --format json | jq -r '.[].id'")]
pub struct List {
    #[command(flatten)]
    format: FormatFlags,

    /// Names only
    #[arg(short, long)]
    quiet: bool,
}

impl List {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let all = list(context, &[]).await?.into_iter();
        let volumes: Vec<VolumeResource> = all.map(|listed| listed.volume).collect();
        if self.quiet {
            return output::write_lines(volumes.iter().map(|volume| &volume.id));
        }
        output::write(self.format.format, &volumes, || table(&volumes))
    }
}

fn table(volumes: &[VolumeResource]) -> Table {
    let mut table = Table::new(["NAME", "TYPE", "DRIVER", "OPTIONS"]);
    for volume in volumes {
        let configuration = &volume.configuration;
        let kind = if configuration.is_anonymous() {
            "anonymous"
        } else {
            "named"
        };
        let options = configuration.options.iter();
        let options: Vec<String> = options
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        table.row([
            volume.id.clone(),
            kind.to_owned(),
            configuration.driver.clone(),
            options.join(","),
        ]);
    }
    table
}
