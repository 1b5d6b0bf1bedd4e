use clap::Args;
use container_api::machine::DeleteRequest;

use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::select;

/// Delete machines, with all that is on their disks
///
/// Your home directory is not deleted: it is on the host. A running machine is refused. Prints the names.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container machine delete dev")]
pub struct Delete {
    /// Machines
    #[arg(value_name = "MACHINE", required = true, add = completion::machines())]
    ids: Vec<String>,

    /// Also delete running machines
    #[arg(short, long)]
    force: bool,
}

impl Delete {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let machines = context.machines()?;
        let force = self.force;
        select::for_each(self.ids, |id| {
            let mut machines = machines.clone();
            async move {
                Ok(machines
                    .delete(DeleteRequest { id, force })
                    .await
                    .map(drop)?)
            }
        })
        .await
    }
}
