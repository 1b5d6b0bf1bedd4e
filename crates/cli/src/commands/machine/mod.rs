//! `container machine`.

mod attached;
mod clone;
mod create;
mod delete;
mod host_user;
mod inspect;
mod list;
mod logs;
mod run;
mod set;
mod set_default;
mod snapshot;
mod start;
mod stats;
mod stop;

use clap::Subcommand;
use container_api::machine::{BootRequest, ListRequest};
use container_api::{Error, Kind};
use container_resource::machine::{MachineResource, MissingMachine};

use super::list::whole;
use crate::connection::{Context, prompt};
use crate::failure::Failure;
use crate::{output, session};

/// Manage container machines: Linux systems to live in
#[derive(Debug, Subcommand)]
pub enum Command {
    Clone(clone::Clone),
    Create(create::Create),
    #[command(visible_alias = "rm")]
    Delete(delete::Delete),
    Inspect(inspect::Inspect),
    #[command(visible_alias = "ls")]
    List(list::List),
    Logs(logs::Logs),
    Run(run::Run),
    Set(set::Set),
    SetDefault(set_default::SetDefault),
    #[command(subcommand, arg_required_else_help = true)]
    Snapshot(snapshot::Command),
    Start(start::Start),
    Stats(stats::Stats),
    Stop(stop::Stop),
}

impl Command {
    /// Does it; gives the exit code.
    pub async fn execute(self, context: &Context) -> Result<u8, Failure> {
        match self {
            Self::Run(command) => return command.execute(context).await,
            Self::Clone(command) => command.execute(context).await,
            Self::Create(command) => command.execute(context).await,
            Self::Delete(command) => command.execute(context).await,
            Self::Inspect(command) => command.execute(context).await,
            Self::List(command) => command.execute(context).await,
            Self::Logs(command) => command.execute(context).await,
            Self::Set(command) => command.execute(context).await,
            Self::SetDefault(command) => command.execute(context).await,
            Self::Snapshot(command) => command.execute(context).await,
            Self::Start(command) => command.execute(context).await,
            Self::Stats(command) => command.execute(context).await,
            Self::Stop(command) => command.execute(context).await,
        }?;
        Ok(0)
    }
}

/// Every machine, by name.
pub async fn list(context: &Context) -> Result<Vec<MachineResource>, Failure> {
    let reply = prompt(context.machines()?.list(ListRequest {})).await?;
    let mut machines: Vec<MachineResource> = serde_json::from_slice(&reply.machines)?;
    for machine in &mut machines {
        machine.created_date = whole(machine.created_date);
        machine.started_date = machine.started_date.map(whole);
    }
    Ok(machines)
}

/// The machine `id`; without a name the default one.
async fn one(context: &Context, id: Option<&str>) -> Result<MachineResource, Failure> {
    let mut machines = list(context).await?.into_iter();
    let found = match id {
        Some(id) => machines.find(|machine| machine.id == id),
        None => machines.find(|machine| machine.default),
    };
    found.ok_or_else(|| {
        let missing = id.map_or(MissingMachine::Default, |id| {
            MissingMachine::Named(id.to_owned())
        });
        let hint = missing.hint();
        Failure::Service(Error::caused(Kind::NotFound, missing).with_hint(hint))
    })
}

/// Boots the machine `id` (without a name the default one), unless it runs.
async fn boot(context: &Context, id: Option<&str>) -> Result<MachineResource, Failure> {
    let request = BootRequest {
        id: id.unwrap_or_default().to_owned(),
        ssh_agent: session::ssh_agent(),
    };
    let reply = context.machines()?.boot(request).await?.into_inner();
    for warning in reply.warnings {
        output::tell(format_args!("Warning: {warning}"));
    }
    Ok(serde_json::from_slice(&reply.machine)?)
}
