use clap::Args;
use container_resource::volume::VolumeResource;

use super::filter::{self, Filter};
use super::list;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::FormatFlags;
use crate::output::{self, Table};

/// List volumes
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container volume list
  container volume list --filter label=team=web
  container volume list --format json | jq -r '.[].id'")]
pub struct List {
    #[command(flatten)]
    format: FormatFlags,

    /// List only those that fit: label=<key>[=<value>], label!=<key>[=<value>], name=<part of the name>, dangling=<true|false>: whether no
    /// container uses them
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = filter::parse)]
    filters: Vec<Filter>,

    /// Names only
    #[arg(short, long)]
    quiet: bool,
}

impl List {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let all = list(context, &[]).await?.into_iter();
        let fitting = all.filter(|listed| self.filters.iter().all(|filter| filter.fits(listed)));
        let volumes: Vec<VolumeResource> = fitting.map(|listed| listed.volume).collect();
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
        let kind = if volume.damage.is_some() {
            "damaged"
        } else if configuration.is_anonymous() {
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
