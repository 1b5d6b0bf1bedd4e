//! What the host has to give: CPUs, memory, a clock.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Virtual CPUs that every host accepts, however few it has: the usual default of a container, so
/// that a configuration can move between hosts.
const VCPUS_ALWAYS: u32 = 4;

/// How long the time-stamp counter is watched. Reading the clocks takes some 50 ns, so the result
/// is good to about 20 parts per million.
const TSC_WATCH: Duration = Duration::from_millis(5);

/// Most virtual CPUs that a guest may have here.
pub fn vcpu_limit() -> u32 {
    let online = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(online).unwrap_or(u32::MAX).max(VCPUS_ALWAYS)
}

/// The host's memory in bytes: the most that a guest may have.
pub fn memory_limit() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}

/// Identity of this boot (`/proc/sys/kernel/random/boot_id`); empty where `/proc` is missing.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// Frequency of the host's time-stamp counter in kHz, measured for [`TSC_WATCH`].
///
/// Under TCG the guest reads the host's counter but has nothing exact to calibrate it with.
pub(crate) fn measure_tsc_khz() -> u64 {
    let (start_ticks, start_ns) = counters();
    std::thread::sleep(TSC_WATCH);
    let (end_ticks, end_ns) = counters();
    let ticks = u128::from(end_ticks.saturating_sub(start_ticks));
    let elapsed = u128::from(end_ns.saturating_sub(start_ns)).max(1);
    u64::try_from(ticks * 1_000_000 / elapsed).unwrap_or(0)
}

/// The time-stamp counter and the raw monotonic clock (ns) at the same moment: of several
/// readings the one that was interrupted least.
fn counters() -> (u64, u64) {
    (0..8)
        .map(|_| {
            let before = tsc();
            let now = clock_gettime(ClockId::MonotonicRaw);
            let after = tsc();
            let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
            let ns = seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0);
            (after.saturating_sub(before), (before / 2 + after / 2, ns))
        })
        .min_by_key(|(width, _)| *width)
        .map_or((0, 0), |(_, reading)| reading)
}

fn tsc() -> u64 {
    // SAFETY: RDTSC only reads a counter; every x86-64 CPU has it and Linux allows it to users.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_of_the_counter_agree() {
        let (first, second) = (measure_tsc_khz(), measure_tsc_khz());
        // Between 100 MHz and 10 GHz, and within 1 % of each other on a loaded machine.
        assert!((100_000..10_000_000).contains(&first), "{first} kHz");
        assert!(
            first.abs_diff(second) < first / 100,
            "{first} kHz, then {second} kHz"
        );
    }

    #[test]
    fn limits_are_plausible() {
        assert!(vcpu_limit() >= VCPUS_ALWAYS);
        assert!(memory_limit() > 64 << 20);
    }
}
