//! Limits of the container, and the size of its machine.

use std::thread;

use container_resource::container::Resources;
use container_resource::size::MINIMUM_MEMORY;
use oci_spec::runtime::LinuxResources;

/// vCPUs of a machine whose container has no limit, if the host has as many.
const DEFAULT_CPUS: u32 = 4;
/// Bytes of memory of a machine whose container has no limit.
const DEFAULT_MEMORY: u64 = 1 << 30;
/// Microseconds: what a quota is of where no period is said (cgroup-v2.rst, `cpu.max`).
const DEFAULT_PERIOD: u64 = 100_000;

/// The machine that has room for what `limits` allow; the guest sees to the limits themselves.
pub fn machine(limits: Option<&LinuxResources>) -> Resources {
    let memory = limits.and_then(|limits| limits.memory().as_ref()?.limit());
    let memory = memory.and_then(|bytes| u64::try_from(bytes).ok());
    let cpus = limits.and_then(|limits| {
        let cpu = limits.cpu().as_ref()?;
        let quota = u64::try_from(cpu.quota()?).ok()?;
        let period = cpu.period().filter(|period| *period > 0);
        Some(quota.div_ceil(period.unwrap_or(DEFAULT_PERIOD)))
    });
    let host = thread::available_parallelism().map_or(1, usize::from);
    let host = u32::try_from(host).unwrap_or(u32::MAX);
    let cpus = cpus
        .filter(|cpus| *cpus > 0)
        .map_or(DEFAULT_CPUS, |cpus| u32::try_from(cpus).unwrap_or(u32::MAX));
    Resources {
        // More CPU time than the host has is no limit.
        cpus: cpus.min(host).max(1),
        memory_in_bytes: memory
            .filter(|bytes| *bytes > 0)
            .unwrap_or(DEFAULT_MEMORY)
            .max(MINIMUM_MEMORY),
        ..Resources::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_machine_has_room_for_its_limits() {
        let machine = |json| {
            let limits: LinuxResources = serde_json::from_value(json).unwrap();
            machine(Some(&limits))
        };
        let limit = |bytes: i64| machine(json!({"memory": {"limit": bytes}})).memory_in_bytes;
        assert_eq!(limit(3 << 30), 3 << 30);
        assert_eq!(limit(1 << 20), MINIMUM_MEMORY);
        assert_eq!((limit(-1), limit(0)), (DEFAULT_MEMORY, DEFAULT_MEMORY));
        let quota = |quota: i64| machine(json!({"cpu": {"quota": quota}})).cpus;
        assert_eq!((quota(50_000), quota(100_000)), (1, 1));
        assert!(quota(i64::MAX) >= quota(-1));
        assert_eq!(super::machine(None), machine(json!({})));
    }
}
