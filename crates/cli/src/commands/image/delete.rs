use clap::Args;
use container_api::images::DeleteRequest;
use container_api::{Error, Kind};
use container_resource::size;

use super::all;
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Delete images
///
/// Data that no other image and no container needs is deleted, too. An image that a container uses keeps its last name, unless --force is
/// given. Prints the references.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container image delete busybox
  container image delete --all")]
pub struct Delete {
    /// Images
    #[arg(value_name = "IMAGE", add = completion::images())]
    references: Vec<String>,

    /// Take all images
    #[arg(short, long)]
    all: bool,

    /// Also delete images that a container uses (the container keeps the data that it needs), and ignore images that do not exist
    #[arg(short, long)]
    force: bool,
}

impl Delete {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let references = match (self.all, self.references.is_empty()) {
            (false, true) => {
                return Err(Failure::usage("no images specified and --all not supplied"));
            }
            (true, false) => {
                return Err(Failure::usage(
                    "explicitly supplied images conflict with the --all flag",
                ));
            }
            (true, true) => all(context)
                .await?
                .into_iter()
                .map(|image| image.configuration.name)
                .collect(),
            (false, false) => self.references,
        };
        if references.is_empty() {
            return Ok(());
        }
        let request = DeleteRequest {
            references,
            force: self.force,
        };
        let reply = context.images().await?.delete(request).await?.into_inner();
        output::write_lines(&reply.deleted)?;
        if !reply.deleted.is_empty() {
            output::tell(format_args!(
                "Reclaimed {} in disk space",
                size::disk(reply.reclaimed_bytes)
            ));
        }
        let failed = reply
            .errors
            .into_iter()
            .map(|error| Failure::Service(Error::new(Kind::Internal, error)));
        Failure::gather(failed.collect())
    }
}
