use clap::Args;
use container_api::images::LoginsRequest;
use container_resource::image::RegistryLogin;

use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::FormatFlags;
use crate::output::{self, Table};

/// List the registries that credentials are stored for
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container registry list
  container registry list --format json")]
pub struct List {
    #[command(flatten)]
    format: FormatFlags,

    /// Host names only
    #[arg(short, long)]
    quiet: bool,
}

impl List {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let reply = context
            .images()
            .await?
            .logins(LoginsRequest {})
            .await?
            .into_inner();
        let logins: Vec<RegistryLogin> = serde_json::from_slice(&reply.logins)?;
        if self.quiet {
            return output::write_lines(logins.iter().map(|login| &login.name));
        }
        output::write(self.format.format, &logins, || table(&logins))
    }
}

fn table(logins: &[RegistryLogin]) -> Table {
    let mut table = Table::new(["HOSTNAME", "USERNAME", "MODIFIED", "CREATED"]);
    for login in logins {
        table.row([
            login.name.clone(),
            login.username.clone(),
            login.modification_date.to_string(),
            login.creation_date.to_string(),
        ]);
    }
    table
}
