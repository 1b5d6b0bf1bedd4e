//! What this host can start machines with.

use std::path::Path;

use container_api::Error;
use container_engine::Engine;
use serde::Serialize;

use super::boot::find_error;

/// What `probe` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// The VMM and its version.
    pub vmm: String,
    /// `kvm` or `tcg`.
    pub accelerator: container_engine::Accelerator,
    /// What was found out about KVM, in words.
    pub kvm: String,
}

/// Finds the VMM and tries KVM; slow answers are kept in `cache` until the next boot of the host.
pub async fn probe(cache: &Path) -> Result<Probe, Error> {
    let engine = Engine::open(cache)
        .await
        .map_err(|error| find_error(&error))?;
    Ok(Probe {
        vmm: engine.vmm(),
        accelerator: engine.accelerator(),
        kvm: engine.kvm().to_string(),
    })
}
