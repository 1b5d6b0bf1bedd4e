//! Resource use of the container, from its control group and the guest's interfaces.

use container_api::types::Statistics;

use super::cgroup::{Cgroup, field};
use crate::network::{Counters, Numbers};

/// Reads everything once. What the kernel does not have counts as zero; no limit is zero too.
pub fn statistics(cgroup: &Cgroup, interfaces: &Numbers) -> Statistics {
    let number = |file: &str| cgroup.read(file).trim().parse().unwrap_or_default();
    let io = cgroup.read("io.stat");
    let counters = Counters::read();
    let (network_rx_bytes, network_tx_bytes) = counters.bytes();
    let memory_current_bytes = number("memory.current");
    Statistics {
        memory_usage_bytes: used(memory_current_bytes, &cgroup.read("memory.stat")),
        memory_current_bytes,
        memory_limit_bytes: number("memory.max"),
        cpu_usage_usec: field(&cgroup.read("cpu.stat"), "usage_usec").unwrap_or_default(),
        block_read_bytes: io_bytes(&io, "rbytes"),
        block_write_bytes: io_bytes(&io, "wbytes"),
        network_rx_bytes,
        network_tx_bytes,
        interfaces: counters.of(interfaces),
        processes: number("pids.current"),
        oom_kills: cgroup.oom_kills(),
        cpu_pressure_usec: pressure(&cgroup.read("cpu.pressure")),
        memory_pressure_usec: pressure(&cgroup.read("memory.pressure")),
        io_pressure_usec: pressure(&cgroup.read("io.pressure")),
    }
}

/// Of the `current` bytes of memory those that cannot be given back at once: without the page cache that nothing used
/// lately, as Docker counts it for cgroup v2 (`calculateMemUsageUnixNoCache`). What is on a tmpfs counts.
fn used(current: u64, memory_stat: &str) -> u64 {
    let inactive = field(memory_stat, "inactive_file").unwrap_or_default();
    // The two are not read in one moment.
    if inactive < current {
        current - inactive
    } else {
        current
    }
}

/// Sum of `key` over all devices of io.stat (`254:0 rbytes=1 wbytes=2 …`).
fn io_bytes(text: &str, key: &str) -> u64 {
    let values = text
        .split_whitespace()
        .filter_map(|pair| pair.split_once('='));
    values
        .filter(|(name, _)| *name == key)
        .filter_map(|(_, value)| value.parse::<u64>().ok())
        .sum()
}

/// Total of the "some" line of a pressure file, in microseconds.
fn pressure(text: &str) -> u64 {
    text.lines()
        .find_map(|line| {
            line.strip_prefix("some ")?
                .split_once("total=")?
                .1
                .parse()
                .ok()
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_texts_are_understood() {
        let io = "254:0 rbytes=100 wbytes=1 rios=3\n254:16 rbytes=20 wbytes=2 rios=1\n";
        assert_eq!((io_bytes(io, "rbytes"), io_bytes(io, "wbytes")), (120, 3));
        let memory = "some avg10=0.00 avg60=0.00 avg300=0.00 total=77\nfull avg10=0.00 total=5\n";
        assert_eq!(pressure(memory), 77);
        let stat = "anon 4096\nfile 900000\ninactive_file 800000\nactive_file 1\n";
        assert_eq!(used(1_000_000, stat), 200_000);
        assert_eq!(used(1_000, stat), 1_000);
        assert_eq!(used(1_000, ""), 1_000);
        assert_eq!((io_bytes("", "rbytes"), pressure("")), (0, 0));
    }
}
