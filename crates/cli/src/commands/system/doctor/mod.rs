//! `container system doctor`: what this host has, what it lacks, and the command that mends it.

mod file_system;
mod host;
mod installation;
mod plugins;
mod state;

use clap::Args;
use container_resource::check::{Check, Status};

use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::FormatFlags;
use crate::output::{self, Table};

/// Check that this host can run containers
///
/// Each line is ok, warn or fail. After a warn or fail comes the command that solves the problem. The exit code is 1 if a line is fail. The
/// services need not run.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:\n  \
    container system doctor\n  \
    container system doctor --format json | jq '.[] | select(.status != \"ok\")'")]
pub struct Doctor {
    #[command(flatten)]
    format: FormatFlags,
}

impl Doctor {
    /// Gives the exit code.
    pub fn execute(self, context: &Context) -> Result<u8, Failure> {
        let mut checks = plugins::runtime(&context.roots);
        checks.extend(installation::checks(&context.roots));
        checks.extend(host::checks(&context.roots));
        checks.extend(file_system::checks(&context.roots));
        checks.extend(state::checks(&context.roots));
        checks.extend(plugins::network(&context.roots));
        checks.extend(plugins::others(&context.roots));
        output::write(self.format.format, &checks, || table(&checks))?;
        Ok(u8::from(
            checks.iter().any(|check| check.status == Status::Fail),
        ))
    }
}

fn table(checks: &[Check]) -> Table {
    let mut table = Table::new(["CHECK", "STATUS", "DETAIL", "REMEDY"]);
    for check in checks {
        let status = match check.status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
        };
        table.row([
            check.name.to_string(),
            status.to_owned(),
            check.detail.clone(),
            check.remedy.clone().unwrap_or_default(),
        ]);
    }
    table
}
