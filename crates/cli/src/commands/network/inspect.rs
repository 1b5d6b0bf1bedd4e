use clap::Args;
use container_api::{Error, Kind};

use super::find;
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Show everything about networks, as JSON
///
/// The containers of each network are included: their addresses, ports and traffic, and what egress rules allowed and refused:
/// destinations, and names that were asked for.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  Who is on it?
    container network inspect default | jq '.[0].status.containers[].id'")]
pub struct Inspect {
    /// Networks
    #[arg(value_name = "NETWORK", required = true, add = completion::networks())]
    names: Vec<String>,
}

impl Inspect {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let found = find(context, &self.names, true).await?;
        let missing: Vec<&str> = self
            .names
            .iter()
            .filter(|name| !found.iter().any(|network| network.id == **name))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            let message = format!("network not found: {}", missing.join(", "));
            return Err(Failure::Service(Error::new(Kind::NotFound, message)));
        }
        output::write_pretty(&found)
    }
}
