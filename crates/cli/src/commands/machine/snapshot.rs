//! `container machine snapshot`.

use clap::{Args, Subcommand};
use container_api::machine::{ListSnapshotsRequest, SnapshotRequest};
use container_resource::machine::{Snapshot as Kept, check_snapshot_name};
use container_resource::size;

use crate::completion;
use crate::connection::{Context, prompt};
use crate::failure::Failure;
use crate::flags::FormatFlags;
use crate::output::{self, Table};

/// Manage snapshots of a machine's disk
#[derive(Debug, Subcommand)]
pub enum Command {
    Create(Create),
    #[command(visible_alias = "rm")]
    Delete(Delete),
    #[command(visible_alias = "ls")]
    List(List),
    Restore(Restore),
}

impl Command {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Create(command) => command.execute(context).await,
            Self::Delete(command) => command.execute(context).await,
            Self::List(command) => command.execute(context).await,
            Self::Restore(command) => command.execute(context).await,
        }
    }
}

/// A snapshot of a machine.
#[derive(Args, Debug)]
pub struct Words {
    /// Machine
    #[arg(value_name = "MACHINE", add = completion::machines())]
    id: String,

    /// Name of the snapshot
    #[arg(value_name = "SNAPSHOT", value_parser = name)]
    snapshot: String,
}

impl Words {
    fn request(&self) -> SnapshotRequest {
        SnapshotRequest {
            id: self.id.clone(),
            snapshot: self.snapshot.clone(),
        }
    }
}

fn name(text: &str) -> Result<String, String> {
    check_snapshot_name(text).map(|()| text.to_owned())
}

/// Make a snapshot of a machine's disk
///
/// A running machine is paused while its disk is copied. If the host's file system can share blocks, the snapshot takes disk space only for
/// later changes. It is deleted with its machine. Prints the snapshot's name.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container machine snapshot create dev before-upgrade")]
pub struct Create {
    #[command(flatten)]
    words: Words,
}

impl Create {
    async fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut machines = context.machines()?;
        machines.create_snapshot(self.words.request()).await?;
        output::write_lines([self.words.snapshot])
    }
}

/// Delete a snapshot
///
/// Prints its name.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container machine snapshot delete dev before-upgrade")]
pub struct Delete {
    #[command(flatten)]
    words: Words,
}

impl Delete {
    async fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut machines = context.machines()?;
        machines.delete_snapshot(self.words.request()).await?;
        output::write_lines([self.words.snapshot])
    }
}

/// Go back to a snapshot
///
/// The machine must not run. Everything that it has written since the snapshot is lost. The snapshot stays. Prints its name.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container machine snapshot restore dev before-upgrade")]
pub struct Restore {
    #[command(flatten)]
    words: Words,
}

impl Restore {
    async fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut machines = context.machines()?;
        machines.restore_snapshot(self.words.request()).await?;
        output::write_lines([self.words.snapshot])
    }
}

/// List the snapshots of a machine, the oldest first
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container machine snapshot list dev")]
pub struct List {
    #[command(flatten)]
    format: FormatFlags,

    /// Names only
    #[arg(short, long)]
    quiet: bool,

    /// Machine (default: the default one)
    #[arg(value_name = "MACHINE", add = completion::machines())]
    id: Option<String>,
}

impl List {
    async fn execute(self, context: &Context) -> Result<(), Failure> {
        let request = ListSnapshotsRequest {
            id: self.id.unwrap_or_default(),
        };
        let mut machines = context.machines()?;
        let reply = prompt(machines.list_snapshots(request)).await?;
        let snapshots: Vec<Kept> = serde_json::from_slice(&reply.snapshots)?;
        if self.quiet {
            return output::write_lines(snapshots.iter().map(|one| &one.id));
        }
        output::write(self.format.format, &snapshots, || table(&snapshots))
    }
}

fn table(snapshots: &[Kept]) -> Table {
    let mut table = Table::new(["NAME", "CREATED", "DISK"]);
    for one in snapshots {
        table.row([
            one.id.clone(),
            one.created_date.to_string(),
            size::disk(one.disk_size),
        ]);
    }
    table
}
