//! Memory of the host.

/// Bytes that programs could have without others losing theirs: `MemAvailable` of `/proc/meminfo` (`proc_meminfo(5)`).
/// Nothing where the kernel does not tell.
pub fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_host_tells_what_memory_it_has() {
        assert!(super::available().unwrap() > 1 << 20);
    }
}
