use clap::{Args, Subcommand};
use container_api::api::{ListTemplatesRequest, PruneTemplatesRequest};
use container_resource::size;
use container_resource::template::TemplateResource;

use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::{FormatFlags, UnaskedFlag};
use crate::output::{self, Table};

/// Manage saved machines, from which containers start faster
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(visible_alias = "ls")]
    List(List),
    Prune(Prune),
}

/// List saved machines, and whether one waits for the next container
///
/// MEMORY is the memory of the whole guest: the container's, and 128 MB for kernel and init. Here 1 MB is 1024 KB, as for containers. SIZE
/// is the space on the disk, where 1 MB is 1000 KB.
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
/// The next start of each kind of machine boots cold and saves the machine again. Prints the keys.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container system template prune")]
pub struct Prune {
    #[command(flatten)]
    unasked: UnaskedFlag,
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
        let templates = list(context).await?;
        if self.quiet {
            return output::write_lines(templates.iter().map(|template| &template.id));
        }
        output::write(self.format.format, &templates, || table(&templates))
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

/// All saved machines, the one used last first.
pub async fn list(context: &Context) -> Result<Vec<TemplateResource>, Failure> {
    let mut system = context.system()?;
    let reply = system.list_templates(ListTemplatesRequest {}).await?;
    let reply = reply.into_inner();
    Ok(serde_json::from_slice(&reply.templates)?)
}

fn table(templates: &[TemplateResource]) -> Table {
    let mut table = Table::new(["ID", "CPUS", "MEMORY", "SIZE", "CREATED", "USED", "STANDBY"]);
    for template in templates {
        table.row([
            template.id.clone(),
            template.cpus.to_string(),
            format!("{} MB", template.memory_in_bytes / size::MIB),
            size::disk(template.size_in_bytes),
            template.creation_date.to_string(),
            template.used_date.to_string(),
            if template.standby { "yes" } else { "" }.to_owned(),
        ]);
    }
    table
}
