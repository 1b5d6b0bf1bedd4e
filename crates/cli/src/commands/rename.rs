use clap::Args;
use container_api::api::RenameRequest;
use container_resource::name;

use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Give a container another name
///
/// Prints the new name.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container rename web web-old")]
pub struct Rename {
    /// Container
    #[arg(value_name = "CONTAINER", add = completion::containers())]
    id: String,

    /// Its new name
    #[arg(value_name = "NAME")]
    new_id: String,
}

impl Rename {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        name::validate(&self.new_id).map_err(Failure::usage)?;
        let request = RenameRequest {
            id: self.id,
            new_id: self.new_id.clone(),
        };
        context.containers()?.rename(request).await?;
        output::write_lines([self.new_id])
    }
}
