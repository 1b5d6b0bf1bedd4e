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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_and_table_are_the_reference_s() {
        let literal = json!({
            "id": "localhost:5000", "name": "localhost:5000", "username": "me", "labels": {},
            "creationDate": "2026-01-02T03:04:05Z", "modificationDate": "2026-01-03T03:04:05Z"
        });
        let login: RegistryLogin = serde_json::from_value(literal.clone()).unwrap();
        assert_eq!(serde_json::to_value(&login).unwrap(), literal);
        assert_eq!(
            table(&[login]).render(),
            "HOSTNAME        USERNAME  MODIFIED              CREATED\n\
             localhost:5000  me        2026-01-03T03:04:05Z  2026-01-02T03:04:05Z\n"
        );
        assert_eq!(
            table(&[]).render(),
            "HOSTNAME  USERNAME  MODIFIED  CREATED\n"
        );
    }
}
