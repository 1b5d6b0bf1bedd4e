//! Completion of container ids and image names, asked of the running system.

use std::ffi::OsStr;
use std::time::Duration;

use clap::CommandFactory as _;
use clap_complete::engine::ArgValueCompleter;
use clap_complete::env::{CompleteEnv, Shells};
use clap_complete::{CompletionCandidate, Shell};
use container_api::api::{ListNetworksRequest, ListRequest};
use container_resource::container::ManagedContainer;
use container_resource::network_status::ManagedNetwork;

use crate::cli::Cli;
use crate::commands::{image, machine, volume};
use crate::connection::Context;
use crate::failure::Failure;

/// The variable by which a shell asks (see `clap_complete`).
const VARIABLE: &str = "COMPLETE";
/// As the command is called.
const NAME: &str = "container";
/// A shell that waits for candidates is a user who waits.
const PATIENCE: Duration = Duration::from_millis(500);

/// Answers a shell that asks for completions, and ends; otherwise does nothing.
pub fn answer_shell() {
    if std::env::var_os(VARIABLE).is_some() {
        CompleteEnv::with_factory(Cli::command)
            .var(VARIABLE)
            .complete();
    }
}

/// What makes `shell` ask this command for completions.
pub fn script(shell: Shell) -> Result<Vec<u8>, Failure> {
    let shells = Shells::builtins();
    let completer = shells
        .completer(&shell.to_string())
        .ok_or_else(|| Failure::usage(format_args!("there is no completion for {shell}")))?;
    let mut script = Vec::new();
    completer
        .write_registration(VARIABLE, NAME, NAME, NAME, &mut script)
        .map_err(|error| Failure::Local(error.into()))?;
    Ok(script)
}

/// Completes ids of containers.
pub fn containers() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| candidates(typed, ask(container_ids())))
}

/// Completes names of networks.
pub fn networks() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| candidates(typed, ask(network_names())))
}

/// Completes references of images.
pub fn images() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| candidates(typed, ask(image_references())))
}

/// Completes names of machines.
pub fn machines() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| candidates(typed, ask(machine_names())))
}

/// Completes names of volumes.
pub fn volumes() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| candidates(typed, ask(volume_names())))
}

fn candidates(typed: &OsStr, names: Vec<String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    names
        .into_iter()
        .filter(|name| name.starts_with(typed.as_ref()))
        .map(CompletionCandidate::new)
        .collect()
}

/// Nothing, where the system does not answer: completion never complains.
fn ask(names: impl Future<Output = Option<Vec<String>>>) -> Vec<String> {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    else {
        return Vec::new();
    };
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, names).await.ok().flatten() })
        .unwrap_or_default()
}

async fn container_ids() -> Option<Vec<String>> {
    let mut client = Context::new(false).ok()?.containers().ok()?;
    let reply = client.list(ListRequest::default()).await.ok()?.into_inner();
    let containers: Vec<ManagedContainer> = serde_json::from_slice(&reply.containers).ok()?;
    Some(
        containers
            .into_iter()
            .map(|container| container.id)
            .collect(),
    )
}

async fn network_names() -> Option<Vec<String>> {
    let mut client = Context::new(false).ok()?.networks().ok()?;
    let reply = client.list(ListNetworksRequest::default()).await.ok()?;
    let networks: Vec<ManagedNetwork> =
        serde_json::from_slice(&reply.into_inner().networks).ok()?;
    Some(networks.into_iter().map(|network| network.id).collect())
}

async fn machine_names() -> Option<Vec<String>> {
    let machines = machine::list(&Context::new(false).ok()?).await.ok()?;
    Some(machines.into_iter().map(|machine| machine.id).collect())
}

async fn volume_names() -> Option<Vec<String>> {
    let volumes = volume::list(&Context::new(false).ok()?, &[]).await.ok()?;
    Some(volumes.into_iter().map(|listed| listed.volume.id).collect())
}

async fn image_references() -> Option<Vec<String>> {
    let context = Context::new(false).ok()?;
    let domain = image::default_domain(&context).ok()?;
    let images = image::all(&context).await.ok()?;
    let names = images.iter().map(|one| image::short_name(one, &domain));
    Some(names.collect())
}
