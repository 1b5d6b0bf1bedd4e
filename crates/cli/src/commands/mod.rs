//! One module per command (as Apple's container has it).

mod attach;
mod build;
mod builder;
mod clean;
mod commit;
mod copy;
mod create;
mod creating;
mod delete;
mod diff;
mod events;
mod exec;
mod export;
mod fetch;
mod follow;
mod id_file;
pub mod image;
mod inspect;
mod kill;
mod list;
mod logs;
pub mod machine;
mod network;
mod pause;
mod port;
mod prune;
mod registry;
mod rename;
mod restart;
mod run;
mod start;
mod stats;
mod stop;
mod system;
mod timeline;
mod top;
pub mod volume;
mod wait;

use std::ffi::OsString;

use clap::Subcommand;

use crate::connection::Context;
use crate::failure::Failure;

/// The first word after `container`.
#[derive(Debug, Subcommand)]
pub enum Command {
    Attach(attach::Attach),
    Build(Box<build::Build>),
    Clean(clean::Clean),
    Commit(commit::Commit),
    #[command(visible_alias = "cp")]
    Copy(copy::Copy),
    Create(create::Create),
    #[command(visible_alias = "rm")]
    Delete(delete::Delete),
    Diff(diff::Diff),
    Events(events::Events),
    Exec(exec::Exec),
    Export(export::Export),
    Inspect(inspect::Inspect),
    Kill(kill::Kill),
    #[command(visible_alias = "ls")]
    List(list::List),
    Logs(logs::Logs),
    Pause(pause::Pause),
    Port(port::Port),
    Prune(prune::Prune),
    Rename(rename::Rename),
    Restart(restart::Restart),
    Run(run::Run),
    Start(start::Start),
    Stats(stats::Stats),
    Stop(stop::Stop),
    Top(top::Top),
    Unpause(pause::Unpause),
    Wait(wait::Wait),

    #[command(subcommand, arg_required_else_help = true)]
    Builder(builder::Command),
    #[command(visible_alias = "i", subcommand, arg_required_else_help = true)]
    Image(image::Command),
    #[command(visible_alias = "m", subcommand, arg_required_else_help = true)]
    Machine(machine::Command),
    #[command(visible_alias = "n", subcommand, arg_required_else_help = true)]
    Network(network::Command),
    #[command(visible_alias = "r", subcommand, arg_required_else_help = true)]
    Registry(registry::Command),
    #[command(visible_alias = "s", subcommand, arg_required_else_help = true)]
    System(system::Command),
    #[command(visible_alias = "v", subcommand, arg_required_else_help = true)]
    Volume(volume::Command),

    /// Show help for a command
    #[command(hide = true)]
    Help {
        /// The words of the command
        path: Vec<String>,
    },
    #[command(external_subcommand)]
    External(Vec<OsString>),
}

impl Command {
    /// Whether it can do nothing without the services.
    pub fn needs_services(&self) -> bool {
        match self {
            Self::System(command) => command.needs_services(),
            Self::Help { .. } | Self::External(_) => false,
            _ => true,
        }
    }

    /// Does it; gives the exit code.
    pub async fn execute(self, context: &Context) -> Result<u8, Failure> {
        match self {
            Self::Attach(command) => return command.execute(context).await,
            Self::Run(command) => return command.execute(context).await,
            Self::Start(command) => return command.execute(context).await,
            Self::Exec(command) => return command.execute(context).await,
            Self::System(command) => return command.execute(context).await,
            Self::Machine(command) => return command.execute(context).await,
            Self::Build(command) => Box::pin(command.execute(context)).await,
            Self::Builder(command) => command.execute(context).await,
            Self::Clean(command) => command.execute(context).await,
            Self::Volume(command) => command.execute(context).await,
            Self::Commit(command) => command.execute(context).await,
            Self::Copy(command) => command.execute(context).await,
            Self::Diff(command) => command.execute(context).await,
            Self::Export(command) => command.execute(context).await,
            Self::Create(command) => command.execute(context).await,
            Self::Delete(command) => command.execute(context).await,
            Self::Inspect(command) => command.execute(context).await,
            Self::Kill(command) => command.execute(context).await,
            Self::List(command) => command.execute(context).await,
            Self::Logs(command) => command.execute(context).await,
            Self::Prune(command) => command.execute(context).await,
            Self::Stats(command) => command.execute(context).await,
            Self::Stop(command) => command.execute(context).await,
            Self::Events(command) => command.execute(context).await,
            Self::Pause(command) => command.execute(context).await,
            Self::Port(command) => command.execute(context).await,
            Self::Rename(command) => command.execute(context).await,
            Self::Restart(command) => command.execute(context).await,
            Self::Top(command) => command.execute(context).await,
            Self::Unpause(command) => command.execute(context).await,
            Self::Wait(command) => command.execute(context).await,
            Self::Image(command) => command.execute(context).await,
            Self::Network(command) => command.execute(context).await,
            Self::Registry(command) => command.execute(context).await,
            // Answered before any server is needed.
            Self::Help { .. } | Self::External(_) => Ok(()),
        }?;
        Ok(0)
    }
}
