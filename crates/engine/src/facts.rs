//! What is learnt about the host once per boot and remembered: each answer costs milliseconds that
//! no start should pay twice.

use std::io::Write;
use std::path::Path;

use container_files::Links;
use serde::{Deserialize, Serialize};

use crate::accelerator::{self, Verdict};
use crate::host;
use crate::qemu::binary::Binary;
use crate::vmm::FindVmmError;

const FILE: &str = "engine.json";
/// Bytes that it has at most.
const LIMIT: u64 = 64 << 10;

/// The facts, and the boot in which they were found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    boot_id: String,
    pub(crate) binary: Binary,
    /// What KVM's machines are run by, where that is another one.
    pub(crate) small: Option<Binary>,
    pub(crate) kvm: Verdict,
    pub(crate) tsc_khz: u64,
}

impl Facts {
    /// Reads what is known from `cache`, learns the rest, and writes it back.
    pub(crate) async fn gather(cache: &Path) -> Result<Self, FindVmmError> {
        let boot_id = host::boot_id();
        let known = Self::read(cache).filter(|known| known.boot_id == boot_id);
        let binary = Binary::find(known.as_ref().map(|known| &known.binary)).await?;
        let before = known.as_ref().map(|known| known.kvm.clone());
        // Blocks for up to 300 ms, once per boot; longer only where the host is too busy to make a guest at all.
        let kvm = tokio::task::spawn_blocking(move || accelerator::verdict(before)).await;
        let kvm = kvm.unwrap_or_else(|error| Verdict::Undecided {
            reason: error.to_string(),
        });
        let small = match kvm {
            Verdict::Works => {
                let known = known.as_ref().and_then(|known| known.small.as_ref());
                binary.small(known).await
            }
            _ => None,
        };
        let tsc_khz = known
            .as_ref()
            .map_or_else(host::measure_tsc_khz, |known| known.tsc_khz);
        let facts = Self {
            boot_id,
            binary,
            small,
            kvm,
            tsc_khz,
        };
        if known.as_ref() != Some(&facts) {
            facts.write(cache);
        }
        Ok(facts)
    }

    fn read(cache: &Path) -> Option<Self> {
        let text = container_files::read(&cache.join(FILE), LIMIT, Links::Refuse).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Writes the facts; a failure costs the next start some milliseconds.
    fn write(&self, cache: &Path) {
        let written = std::fs::create_dir_all(cache).and_then(|()| {
            let temporary = cache.join(format!("{FILE}.{}", std::process::id()));
            let mut file = container_files::create(&temporary)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            std::fs::rename(&temporary, cache.join(FILE))
        });
        if let Err(error) = written {
            tracing::debug!(%error, directory = %cache.display(), "facts are not remembered");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_look_agrees_and_a_damaged_memory_is_replaced() {
        let cache = tempfile::tempdir().unwrap();
        let first = Facts::gather(cache.path()).await.unwrap();
        assert_eq!(Facts::gather(cache.path()).await.unwrap(), first);
        // What was found before the host was started again counts for nothing.
        let reason = "of another boot".to_owned();
        let old = Facts {
            boot_id: reason.clone(),
            kvm: accelerator::Verdict::Unable { reason },
            ..first.clone()
        };
        old.write(cache.path());
        assert_eq!(Facts::gather(cache.path()).await.unwrap().kvm, first.kvm);
        std::fs::write(cache.path().join(FILE), "{").unwrap();
        let again = Facts::gather(cache.path()).await.unwrap();
        assert_eq!(again.binary, first.binary);
        assert_eq!(Facts::read(cache.path()).unwrap(), again);
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 1);
    }
}
