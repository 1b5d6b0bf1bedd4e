//! The host's CPUs and memory, of which a virtual machine gets a part.

use std::thread;

/// CPUs that this process may use.
pub fn cpus() -> u32 {
    let cpus = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cpus).unwrap_or(u32::MAX)
}

/// Bytes of memory.
pub fn memory() -> u64 {
    let host = rustix::system::sysinfo();
    host.totalram.saturating_mul(u64::from(host.mem_unit))
}
