use std::fs::File;
use std::io::Read as _;

use clap::Args;
use container_archive::operation::Operation;
use container_resource::size;
use futures::future::join_all;

use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::session::{Owner, operate, pipe};
use crate::{output, select};

/// Bytes of a number.
const NUMBER_MAX: u64 = 32;

/// Give disk space that containers have freed back to the host at once
///
/// The space is in their writable layers and in volumes that they may write to. Without this command it is given back within a minute.
/// Without names all running containers are cleaned. Prints the ids.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container clean
  container clean web")]
pub struct Clean {
    /// Containers
    #[arg(value_name = "CONTAINER", add = completion::containers())]
    ids: Vec<String>,
}

impl Clean {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let ids = if self.ids.is_empty() {
            let all = select::list(&mut context.containers()?, &[])
                .await?
                .into_iter();
            let running = all.filter(select::is_running);
            running.map(|container| container.id).collect()
        } else {
            self.ids
        };
        let outcomes = join_all(ids.iter().map(|id| clean(context, id))).await;
        let (mut done, mut failures, mut bytes) = (Vec::new(), Vec::new(), 0_u64);
        for (id, outcome) in ids.iter().zip(outcomes) {
            match outcome {
                Ok(trimmed) => {
                    done.push(id);
                    bytes = bytes.saturating_add(trimmed);
                }
                Err(failure) => failures.push(failure),
            }
        }
        output::write_lines(done)?;
        output::tell(format_args!("Trimmed {} of free space", size::disk(bytes)));
        Failure::gather(failures)
    }
}

/// Trims the disks of one container; gives the bytes, as its guest says.
async fn clean(context: &Context, id: &str) -> Result<u64, Failure> {
    let (said, out) = pipe()?;
    operate(context, Owner::Container(id), &Operation::Trim, None, out).await?;
    let mut text = String::new();
    // A guest that says nothing of use has cleaned nothing.
    let _ = File::from(said).take(NUMBER_MAX).read_to_string(&mut text);
    Ok(text.trim().parse().unwrap_or(0))
}
