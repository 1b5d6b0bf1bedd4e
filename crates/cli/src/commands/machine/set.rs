use std::path::Path;

use clap::Args;
use container_api::machine::SetRequest;
use container_resource::machine::Change;

use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::kernel_path;
use crate::output;

/// Change settings of a machine: cpus, memory, home-mount, virtualization, kernel
///
/// A running machine gets the settings when it is booted again. Prints the name.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  More of everything:
    container machine set --name dev cpus=8 memory=16G

  The system's own kernel again:
    container machine set --name dev kernel=")]
pub struct Set {
    /// Machine (default: the default one)
    #[arg(short, long, value_name = "MACHINE", add = completion::machines())]
    name: Option<String>,

    /// Settings: <key>=<value>
    #[arg(value_name = "KEY=VALUE", required = true, value_parser = Change::parse)]
    changes: Vec<Change>,
}

impl Set {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let changes: Vec<Change> = self
            .changes
            .into_iter()
            .map(|change| match change {
                // As at creation: one that is not there is told now.
                Change::Kernel(Some(path)) => {
                    Ok(Change::Kernel(Some(kernel_path(Path::new(&path))?)))
                }
                other => Ok(other),
            })
            .collect::<Result<_, Failure>>()?;
        let request = SetRequest {
            id: self.name.unwrap_or_default(),
            changes: serde_json::to_vec(&changes)?.into(),
        };
        let reply = context.machines()?.set(request).await?.into_inner();
        if reply.pending {
            output::tell(format_args!(
                "Warning: machine {id} is running: the changes will take effect after it is stopped and started",
                id = reply.id
            ));
        }
        output::write_lines([reply.id])
    }
}
