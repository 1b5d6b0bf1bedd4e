//! The log messages of the services: from the journal if they are there, otherwise from their files.

mod files;
mod journal;
mod span;

use std::path::Path;
use std::time::Duration;

use clap::Args;
use container_api::log::JOURNAL_SOCKET;
use jiff::Timestamp;

use crate::connection::Context;
use crate::failure::Failure;

/// Show the log messages of the services
///
/// The messages of all services are sorted by time. Each message shows its service, its container and its request. A request has the same
/// id in all services; `--debug` shows the id of a command's request. The messages come from the journal if journald runs and
/// `CONTAINER_LOG_ROOT` is not set, and otherwise from files.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container system logs --last 1h
  container system logs --follow
  journalctl CONTAINER_ID=web CONTAINER_REQUEST=4f1c2b7d9e0a3856")]
pub struct Logs {
    /// Go on until Ctrl-C
    #[arg(short, long)]
    follow: bool,

    /// How far to go back: a number and s (the default), m, h or d
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = span::parse)]
    last: Duration,
}

impl Logs {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let since = Timestamp::now()
            .checked_sub(self.last)
            .unwrap_or(Timestamp::MIN);
        let roots = &context.roots;
        if !roots.log_is_named && Path::new(JOURNAL_SOCKET).exists() {
            journal::show(&roots.app, since, self.follow).await
        } else {
            files::show(roots, since, self.follow).await
        }
    }
}
