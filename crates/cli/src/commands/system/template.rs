use clap::{Args, Subcommand};
use container_api::api::{ListTemplatesRequest, PruneTemplatesRequest, Template};
use container_resource::size;
use jiff::Timestamp;
use serde::Serialize;

use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::FormatFlags;
use crate::output::{self, Table};

/// Manage saved machines that starts are made from
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(visible_alias = "ls")]
    List(List),
    Prune(Prune),
}

/// List saved machines, and whether one waits for the next container
///
/// MEMORY is the whole guest's: its container's and 128 MB for kernel and init. As for containers, MB are of
/// 1024 KB; SIZE is on the disk, whose MB are of 1000 KB.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container system template list")]
pub struct List {
    #[command(flatten)]
    format: FormatFlags,

    /// Keys only
    #[arg(short, long)]
    quiet: bool,
}

/// Delete all saved machines
///
/// The next start of each shape boots cold and saves it again. Prints their keys.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container system template prune")]
pub struct Prune {}

/// A saved machine, as programs see it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    cpus: u32,
    memory_in_bytes: u64,
    size_in_bytes: u64,
    creation_date: Timestamp,
    used_date: Timestamp,
    /// A machine that was started from it waits for the next container.
    standby: bool,
}

impl Command {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List(command) => command.execute(context).await,
            Self::Prune(command) => command.execute(context).await,
        }
    }
}

impl List {
    async fn execute(self, context: &Context) -> Result<(), Failure> {
        let reply = context
            .system()?
            .list_templates(ListTemplatesRequest {})
            .await?
            .into_inner();
        let rows: Vec<Row> = reply.templates.into_iter().map(row).collect();
        if self.quiet {
            return output::write_lines(rows.iter().map(|row| &row.id));
        }
        output::write(self.format.format, &rows, || table(&rows))
    }
}

impl Prune {
    async fn execute(self, context: &Context) -> Result<(), Failure> {
        let reply = context
            .system()?
            .prune_templates(PruneTemplatesRequest {})
            .await?
            .into_inner();
        output::write_lines(&reply.keys)?;
        output::tell(format_args!(
            "Reclaimed {} in disk space",
            size::disk(reply.reclaimed_bytes)
        ));
        Ok(())
    }
}

fn row(template: Template) -> Row {
    let date = |milliseconds| Timestamp::from_second(milliseconds / 1000).unwrap_or_default();
    Row {
        id: template.key,
        cpus: template.vcpus,
        memory_in_bytes: template.memory_bytes,
        size_in_bytes: template.size_bytes,
        creation_date: date(template.created_ms),
        used_date: date(template.used_ms),
        standby: template.standby,
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(["ID", "CPUS", "MEMORY", "SIZE", "CREATED", "USED", "STANDBY"]);
    for row in rows {
        table.row([
            row.id.clone(),
            row.cpus.to_string(),
            format!("{} MB", row.memory_in_bytes / size::MIB),
            size::disk(row.size_in_bytes),
            row.creation_date.to_string(),
            row.used_date.to_string(),
            if row.standby { "yes" } else { "" }.to_owned(),
        ]);
    }
    table
}
