use clap::Args;
use container_api::api::PauseRequest;
use container_resource::container::ContainerState;

use crate::connection::Context;
use crate::failure::Failure;
use crate::select::{self, Selection};

/// Freeze all processes of containers
///
/// The processes keep their memory and use no CPU. Prints the ids.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container pause web
  container pause --all")]
pub struct Pause {
    #[command(flatten)]
    selection: Selection,
}

/// Resume all processes of paused containers
///
/// Prints the ids.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container unpause web")]
pub struct Unpause {
    #[command(flatten)]
    selection: Selection,
}

impl Pause {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        set(&self.selection, context, true).await
    }
}

impl Unpause {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        set(&self.selection, context, false).await
    }
}

async fn set(selection: &Selection, context: &Context, paused: bool) -> Result<(), Failure> {
    selection.check()?;
    let mut containers = context.containers()?;
    let from = if paused {
        ContainerState::Running
    } else {
        ContainerState::Paused
    };
    let ids = selection
        .resolve(&mut containers, |container| container.status.state == from)
        .await?;
    select::for_each(ids, |id| {
        let mut containers = containers.clone();
        async move {
            Ok(containers
                .pause(PauseRequest { id, paused })
                .await
                .map(drop)?)
        }
    })
    .await
}
