use clap::Args;
use container_resource::cpus::{self, Cpus};
use container_resource::journal::{self, Journal};
use container_resource::settings::ContainerDefaults;
use container_resource::{size, volume};

use crate::host;

/// Virtual CPUs unless the flags or the configuration say otherwise, where the host has as many.
const DEFAULT_CPUS: u32 = 4;
/// Bytes unless the flags or the configuration say otherwise.
const DEFAULT_MEMORY: u64 = 1 << 30;

/// How large the virtual machine is.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Resource options")]
pub struct ResourceFlags {
    /// Number of CPUs (default: 4, or what the host has). With 1.5, for example, the machine has 2 CPUs, and the container may use the time
    /// of 1.5
    #[arg(short, long, value_name = "NUMBER", value_parser = cpus::parse)]
    cpus: Option<Cpus>,

    /// Journal of the writable layer: ordered (the default), writeback or journal, with an optional size (ordered:128M)
    #[arg(long, value_name = "MODE", value_parser = journal::parse)]
    journal: Option<Journal>,

    /// Memory with an optional unit (K, M, G, T or P), in whole MiB, at least 200M (default: 1G)
    #[arg(short, long, value_name = "SIZE", value_parser = size::parse_memory)]
    memory: Option<u64>,

    /// Size of the writable layer (default: 64G). It takes disk space only for the data written to it
    #[arg(long, value_name = "SIZE", value_parser = storage)]
    storage_size: Option<u64>,
}

/// The least size of a writable layer, in bytes: a start needs some, and a journal.
const MINIMUM_STORAGE: u64 = 64 << 20;

/// A size of the writable layer in bytes, a multiple of 1 MiB.
fn storage(text: &str) -> Result<u64, String> {
    let bytes = size::parse(text).map_err(|error| error.to_string())?;
    if !(MINIMUM_STORAGE..=volume::MAXIMUM_SIZE).contains(&bytes) {
        return Err("64M to 256T is expected".to_owned());
    }
    Ok(bytes.next_multiple_of(size::MIB))
}

impl ResourceFlags {
    /// CPUs.
    pub fn cpus(&self, defaults: &ContainerDefaults) -> Cpus {
        let configured = defaults.cpus.map(Cpus::whole);
        self.cpus
            .or(configured)
            .unwrap_or_else(|| Cpus::whole(host::cpus().min(DEFAULT_CPUS)))
    }

    /// Bytes of the writable layer, where that is said.
    pub fn storage(&self) -> Option<u64> {
        self.storage_size
    }

    /// Journal of the writable layer, where that is said.
    pub fn journal(&self) -> Option<Journal> {
        self.journal
    }

    /// Bytes of memory.
    pub fn memory(&self, defaults: &ContainerDefaults) -> u64 {
        let configured = defaults
            .memory
            .as_deref()
            .and_then(|text| size::parse_memory(text).ok());
        self.memory.or(configured).unwrap_or(DEFAULT_MEMORY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_then_configuration_then_default() {
        let configured = ContainerDefaults {
            cpus: Some(3),
            memory: Some("2gb".into()),
            ..ContainerDefaults::default()
        };
        let flags = ResourceFlags {
            cpus: Some(Cpus::whole(1)),
            memory: Some(5 << 30),
            ..ResourceFlags::default()
        };
        let none = ResourceFlags::default();
        assert_eq!(
            (flags.cpus(&configured), flags.memory(&configured)),
            (Cpus::whole(1), 5 << 30)
        );
        assert_eq!(
            (none.cpus(&configured), none.memory(&configured)),
            (Cpus::whole(3), 2 << 30)
        );
        assert_eq!(none.memory(&ContainerDefaults::default()), 1 << 30);
        let cpus = none.cpus(&ContainerDefaults::default()).machine();
        assert!((1..=4).contains(&cpus));
    }
}
