use clap::Args;
use container_resource::attachment::{self, Choice};

use super::{BuilderName, Resources, ensure};
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Start a builder
///
/// A build starts the builder by itself. A builder that has other resources is created again; its cache stays. Prints its name.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container builder start --cpus 8 --memory 16G
  container builder start --builder nightly")]
pub struct Start {
    #[command(flatten)]
    builder: BuilderName,

    #[command(flatten)]
    resources: Resources,

    /// Network of the builder, written as --network of `container run`, with egress= if wanted
    #[arg(long, value_name = "NETWORK", value_parser = attachment::parse, add = completion::networks())]
    network: Option<Choice>,
}

impl Start {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let resources = match self.network {
            None => self.resources,
            Some(Choice::Network(network)) => self.resources.on(*network),
            Some(Choice::None | Choice::Host) => {
                let text = "a builder is on a network of its own: none and host are for the steps of a build";
                return Err(Failure::usage(text));
            }
        };
        ensure(context, &self.builder.name, &resources).await?;
        output::write_lines([self.builder.name])
    }
}
