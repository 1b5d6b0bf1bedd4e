//! What this host can start machines with.

use std::path::Path;

use container_api::Error;
use container_engine::Engine;
use container_engine::confinement::survey::survey;
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
    /// How a VMM is confined here; absent where it cannot be.
    pub confinement: Option<Confinement>,
}

/// What keeps a VMM from the host, layer by layer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Confinement {
    /// From files, processes and networks.
    pub isolation: &'static str,
    /// Whose id it has.
    pub identity: &'static str,
    /// Version of Landlock; 0: there is none.
    pub landlock: u32,
    /// What bounds what it takes of the host, in words.
    pub ceilings: String,
}

impl Confinement {
    async fn find() -> Option<Self> {
        match survey(false).await {
            Ok(found) => Some(Self {
                isolation: found.isolation,
                identity: found.identity,
                landlock: found.landlock,
                ceilings: found.ceilings,
            }),
            Err(error) => {
                tracing::warn!("{error}");
                None
            }
        }
    }
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
        confinement: Confinement::find().await,
    })
}
