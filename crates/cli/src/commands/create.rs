use clap::Args;

use super::creating::{CreationFlags, ImageWords};
use super::id_file::IdFile;
use super::run;
use crate::connection::Context;
use crate::failure::Failure;

/// Create a container without starting it
///
/// Prints its id. `container start` boots its virtual machine and runs its first process.
#[derive(Args, Debug)]
#[command(override_usage = "container create [OPTIONS] <IMAGE> [ARGUMENT]...")]
// What is not started has nothing to detach from; scripts that are used to the flag may give it.
#[command(mut_arg("detach", |flag| flag.hide(true)))]
#[command(after_long_help = "Examples:
  Create a container and run it with this terminal attached:
    container create -it --name shell busybox sh
    container start -ai shell")]
pub struct Create {
    #[command(flatten)]
    flags: CreationFlags,
    #[command(flatten)]
    words: ImageWords,
}

impl Create {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut file = IdFile::reserve(self.flags.management.cidfile.as_deref())?;
        let mut containers = context.containers()?;
        let prepared = self.flags.prepare(context, &self.words).await?;
        prepared.create(&mut containers).await?;
        run::write_id(&mut file, &mut containers, prepared.id()).await?;
        IdFile::keep(file);
        run::tell_id(prepared.id(), "was created")
    }
}
