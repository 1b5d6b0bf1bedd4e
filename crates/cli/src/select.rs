//! The containers that a command works on: those named, or `--all`.

use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use container_api::Kind;
use container_api::api::ListRequest;
use container_resource::builder;
use container_resource::container::{ContainerState, ManagedContainer};
use container_resource::label::well_known;
use container_resource::machine;
use container_resource::size;
use futures::future::join_all;

use crate::completion;
use crate::connection::{Containers, prompt};
use crate::failure::Failure;
use crate::output;

/// Containers by id, or all of them.
#[derive(Args, Debug)]
pub struct Selection {
    /// Containers
    #[arg(value_name = "CONTAINER", add = completion::containers())]
    ids: Vec<String>,

    /// Take all containers
    #[arg(short, long)]
    all: bool,
}

impl Selection {
    /// The ids, each once. With `--all` those of the containers that `fits`.
    pub async fn resolve(
        &self,
        client: &mut Containers,
        fits: impl Fn(&ManagedContainer) -> bool,
    ) -> Result<Vec<String>, Failure> {
        if self.all {
            let containers = list(client, &[]).await?;
            return Ok(containers
                .into_iter()
                .filter(fits)
                .map(|container| container.id)
                .collect());
        }
        Ok(self.each_once())
    }

    /// The named ones, each once; none for all, which is what is meant without names, too.
    pub fn resolve_named(&self) -> Result<Vec<String>, Failure> {
        if self.all {
            self.check()?;
        }
        Ok(self.each_once())
    }

    fn each_once(&self) -> Vec<String> {
        let mut ids: Vec<String> = Vec::with_capacity(self.ids.len());
        for id in &self.ids {
            if !ids.contains(id) {
                ids.push(id.clone());
            }
        }
        ids
    }

    /// Whether something was selected at all, and only in one way.
    pub fn check(&self) -> Result<(), Failure> {
        match (self.all, self.ids.is_empty()) {
            (false, true) => Err(Failure::usage(
                "no containers specified and --all not supplied",
            )),
            (true, false) => Err(Failure::usage(
                "explicitly supplied container ID(s) conflict with the --all flag",
            )),
            _ => Ok(()),
        }
    }
}

/// The containers with these ids, all of them for none; those that plugins manage for themselves are left out of
/// all.
pub async fn list(
    client: &mut Containers,
    ids: &[String],
) -> Result<Vec<ManagedContainer>, Failure> {
    let reply = prompt(client.list(ListRequest { ids: ids.to_vec() })).await?;
    let mut containers: Vec<ManagedContainer> = serde_json::from_slice(&reply.containers)?;
    if ids.is_empty() {
        let is_machine = |container: &ManagedContainer| {
            let plugin = container.configuration.labels.get(well_known::PLUGIN);
            plugin.is_some_and(|plugin| plugin == machine::PLUGIN)
        };
        containers.retain(|container| !is_machine(container) && !builder::is_builder(container));
    }
    Ok(containers)
}

/// Whether a process of the container may be running.
pub fn is_running(container: &ManagedContainer) -> bool {
    matches!(
        container.status.state,
        ContainerState::Running | ContainerState::Paused
    )
}

/// Whether the container runs, is being stopped, or is started again by its policy.
pub fn is_live(container: &ManagedContainer) -> bool {
    is_running(container)
        || matches!(
            container.status.state,
            ContainerState::Stopping | ContainerState::Restarting
        )
}

/// Does `work` for all `ids` at once. Prints each id that it was done for, in their order, and gives every
/// failure.
pub async fn for_each<F>(ids: Vec<String>, work: impl Fn(String) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let work = |id| {
        let working = work(id);
        async { working.await.map(|()| true) }
    };
    for_each_left(ids, work).await
}

/// Deletes all of `ids`, as [`for_each`], by `delete`, which gives the bytes that became free; prints their sum. What somebody else has deleted
/// meanwhile is no failure, and not printed.
pub async fn prune<F>(ids: Vec<String>, delete: impl Fn(String) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<u64, Failure>>,
{
    let reclaimed = AtomicU64::new(0);
    let outcome = for_each_left(ids, |id| {
        let deleting = delete(id);
        let reclaimed = &reclaimed;
        async move {
            match deleting.await {
                Ok(bytes) => {
                    reclaimed.fetch_add(bytes, Ordering::Relaxed);
                    Ok(true)
                }
                Err(failure) if failure.kind() == Some(Kind::NotFound) => Ok(false),
                Err(failure) => Err(failure),
            }
        }
    })
    .await;
    output::tell(format_args!(
        "Reclaimed {} in disk space",
        size::disk(reclaimed.into_inner())
    ));
    outcome
}

/// As [`for_each`], where some of what `ids` name may be gone: `work` gives whether it was there, and it is not printed else.
async fn for_each_left<F>(ids: Vec<String>, work: impl Fn(String) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<bool, Failure>>,
{
    let outcomes = join_all(ids.iter().map(|id| work(id.clone()))).await;
    let mut done = Vec::new();
    let mut failures = Vec::new();
    for (id, outcome) in ids.iter().zip(outcomes) {
        match outcome {
            Ok(true) => done.push(id),
            Ok(false) => {}
            Err(failure) => failures.push(failure),
        }
    }
    output::write_lines(done)?;
    Failure::gather(failures)
}
