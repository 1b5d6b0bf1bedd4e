//! `container system`.

mod config;
mod disk_usage;
mod dns;
mod doctor;
mod kernel;
mod logs;
mod property;
mod start;
mod status;
mod stop;
mod template;
mod usage_details;
mod version;

use clap::Subcommand;

pub use disk_usage::allocated;

use crate::connection::Context;
use crate::failure::Failure;

/// Manage the services that containers need
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(subcommand, arg_required_else_help = true)]
    Config(config::Command),
    Df(disk_usage::DiskUsage),
    #[command(subcommand, arg_required_else_help = true)]
    Dns(dns::Command),
    Doctor(doctor::Doctor),
    #[command(subcommand, arg_required_else_help = true)]
    Kernel(kernel::Command),
    Logs(logs::Logs),
    #[command(subcommand, arg_required_else_help = true)]
    Property(property::Command),
    Start(start::Start),
    Status(status::Status),
    Stop(stop::Stop),
    #[command(subcommand, arg_required_else_help = true)]
    Template(template::Command),
    Version(version::Version),
}

impl Command {
    /// Whether it can do nothing without the services.
    pub fn needs_services(&self) -> bool {
        matches!(self, Self::Df(_) | Self::Dns(_) | Self::Template(_))
    }

    /// Does it; gives the exit code.
    pub async fn execute(self, context: &Context) -> Result<u8, Failure> {
        match self {
            Self::Status(command) => return command.execute(context).await,
            Self::Doctor(command) => return command.execute(context),
            Self::Config(command) => return command.execute(context),
            Self::Df(command) => command.execute(context).await,
            Self::Dns(command) => command.execute(context).await,
            Self::Kernel(command) => command.execute(context).await,
            Self::Logs(command) => command.execute(context).await,
            Self::Property(command) => command.execute(context),
            Self::Start(command) => command.execute(context).await,
            Self::Stop(command) => command.execute(context).await,
            Self::Template(command) => command.execute(context).await,
            Self::Version(command) => command.execute(context).await,
        }?;
        Ok(0)
    }
}
