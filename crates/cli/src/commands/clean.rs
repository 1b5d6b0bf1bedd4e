use std::path::PathBuf;

use clap::Args;
use container_archive::operation::Operation;
use container_resource::container::ManagedContainer;
use container_resource::size;
use futures::future::join_all;
use serde::Serialize;

use super::system::allocated;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output::{Format, Table};
use crate::select::{self, Selection};
use crate::session::{Owner, operate, pipe};
use crate::{flags::FormatFlags, output};

/// Give disk space that containers have freed back to the host at once
///
/// The space is in their writable layers and in volumes that they may write to; a read-only root is left out. Without this command it is
/// given back within a minute. Without names all running containers are cleaned. Prints the ids, and on standard error how much came back.
#[derive(Args, Debug)]
#[command(mut_arg("all", |flag| flag.help("Clean all running containers, as without names")))]
#[command(after_long_help = "Examples:
  container clean
  container clean web
  container clean --all --format json | jq '.[] | {id, reclaimedInBytes}'")]
pub struct Clean {
    #[command(flatten)]
    selection: Selection,

    #[command(flatten)]
    format: FormatFlags,

    /// Do not say how much came back
    #[arg(short, long)]
    quiet: bool,
}

/// What became of one container.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cleaned {
    id: String,
    /// Bytes that its files take less than before.
    reclaimed_in_bytes: u64,
    /// Its root is read-only, so nothing of it was cleaned.
    root_skipped: bool,
}

impl Clean {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut containers = context.containers()?;
        let named = self.selection.resolve_named()?;
        let found = select::list(&mut containers, &named).await?;
        let ids = if named.is_empty() {
            let running = found
                .iter()
                .filter(|container| select::is_running(container));
            running.map(|container| container.id.clone()).collect()
        } else {
            named
        };
        let disks = |id: &String| {
            let container = found.iter().find(|container| container.id == *id);
            container.map(|container| Disks::of(context, container))
        };
        let outcomes = join_all(ids.iter().map(|id| clean(context, id, disks(id)))).await;
        let (mut done, mut failures) = (Vec::new(), Vec::new());
        for outcome in outcomes {
            match outcome {
                Ok(cleaned) => done.push(cleaned),
                Err(failure) => failures.push(failure),
            }
        }
        if self.format.format == Format::Table {
            output::write_lines(done.iter().map(|cleaned| &cleaned.id))?;
        } else {
            output::write(self.format.format, &done, || Table::new(["ID"]))?;
        }
        // Of none there is nothing to tell but why.
        if !self.quiet && (failures.is_empty() || !done.is_empty()) {
            for cleaned in done.iter().filter(|cleaned| cleaned.root_skipped) {
                output::tell(format_args!(
                    "The root of {} is read-only: skipped",
                    cleaned.id
                ));
            }
            let bytes = done.iter().map(|cleaned| cleaned.reclaimed_in_bytes).sum();
            output::tell(format_args!(
                "Reclaimed {} in disk space",
                size::disk(bytes)
            ));
        }
        Failure::gather(failures)
    }
}

/// The disks that a container writes to.
struct Disks {
    files: Vec<PathBuf>,
    root_is_read_only: bool,
}

impl Disks {
    fn of(context: &Context, container: &ManagedContainer) -> Self {
        let configuration = &container.configuration;
        let written = configuration.volumes().into_iter();
        let written = written.filter(|volume| !configuration.only_reads(volume));
        let mut files: Vec<PathBuf> = written
            .map(|volume| context.roots.volumes().join(volume))
            .collect();
        files.push(context.roots.containers().join(&container.id));
        Self {
            files,
            root_is_read_only: configuration.read_only,
        }
    }

    fn allocated(&self) -> u64 {
        self.files.iter().map(|file| allocated(file)).sum()
    }
}

/// Trims the disks of one container, and looks what that gave the host.
async fn clean(context: &Context, id: &str, disks: Option<Disks>) -> Result<Cleaned, Failure> {
    let before = disks.as_ref().map_or(0, Disks::allocated);
    let (said, out) = pipe()?;
    operate(context, Owner::Container(id), &Operation::Trim, None, out).await?;
    drop(said);
    let after = disks.as_ref().map_or(0, Disks::allocated);
    Ok(Cleaned {
        id: id.to_owned(),
        // It may have written meanwhile.
        reclaimed_in_bytes: before.saturating_sub(after),
        root_skipped: disks.is_some_and(|disks| disks.root_is_read_only),
    })
}
