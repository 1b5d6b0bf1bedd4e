//! `linux.resources` as settings of cgroup v2 files (runtime-spec, "cgroup v2"; kernel `cgroup-v2.rst`).

use thiserror::Error;

use crate::spec::{BlockIo, Cpu, Memory, Resources, Throttle};

/// Default period of `cpu.max`, in microseconds.
const CPU_PERIOD: u64 = 100_000;

/// One file of the group and what is written into it.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    pub file: String,
    pub value: String,
}

/// A limit that cannot be expressed.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum LimitError {
    /// A `unified` key that is no file of the group.
    #[error("invalid control group file name {0:?}")]
    FileName(String),
    /// `memory.swap` counts memory and swap together.
    #[error("the memory and swap limit {swap} is below the memory limit {memory}")]
    SwapBelowMemory { memory: i64, swap: i64 },
    /// A page size that is not `<number><KB|MB|GB>`.
    #[error("invalid huge page size {0:?}")]
    PageSize(String),
}

/// What to write for `resources`, in order.
pub fn settings(resources: &Resources) -> Result<Vec<Setting>, LimitError> {
    let mut settings = Settings(Vec::new());
    settings.memory(&resources.memory)?;
    settings.cpu(&resources.cpu);
    if let Some(pids) = &resources.pids {
        settings.add("pids.max", &positive_or_max(pids.limit));
    }
    settings.block_io(&resources.block_io);
    for huge in &resources.hugepage_limits {
        let valid = huge.page_size.ends_with('B')
            && huge
                .page_size
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric());
        if !valid {
            return Err(LimitError::PageSize(huge.page_size.clone()));
        }
        settings.add(&format!("hugetlb.{}.max", huge.page_size), &huge.limit);
    }
    for (file, value) in &resources.unified {
        let valid = file.contains('.')
            && !file.starts_with('.')
            && file
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
        if !valid {
            return Err(LimitError::FileName(file.clone()));
        }
        settings.add(file, value);
    }
    Ok(settings.0)
}

struct Settings(Vec<Setting>);

impl Settings {
    fn add<V: ToString + ?Sized>(&mut self, file: &str, value: &V) {
        self.0.push(Setting {
            file: file.to_owned(),
            value: value.to_string(),
        });
    }

    fn memory(&mut self, memory: &Memory) -> Result<(), LimitError> {
        if let Some(limit) = memory.limit {
            self.add("memory.max", &positive_or_max(limit));
        }
        match (memory.swap, memory.limit) {
            (Some(swap), Some(limit)) if swap > 0 && limit > 0 => {
                if swap < limit {
                    return Err(LimitError::SwapBelowMemory {
                        memory: limit,
                        swap,
                    });
                }
                self.add("memory.swap.max", &(swap - limit));
            }
            (Some(swap), _) if swap < 0 => self.add("memory.swap.max", "max"),
            _ => {}
        }
        if let Some(low) = memory.reservation {
            self.add("memory.low", &positive_or_max(low));
        }
        Ok(())
    }

    fn cpu(&mut self, cpu: &Cpu) {
        if let Some(shares) = cpu.shares.filter(|shares| *shares > 0) {
            self.add("cpu.weight", &cpu_weight(shares));
        }
        if cpu.quota.is_some() || cpu.period.is_some() {
            let quota = positive_or_max(cpu.quota.unwrap_or(-1));
            let period = cpu
                .period
                .filter(|period| *period > 0)
                .unwrap_or(CPU_PERIOD);
            self.add("cpu.max", &format!("{quota} {period}"));
        }
        if let Some(burst) = cpu.burst {
            self.add("cpu.max.burst", &burst);
        }
        if let Some(idle) = cpu.idle {
            self.add("cpu.idle", &idle);
        }
        for (file, list) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
            if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
                self.add(file, list);
            }
        }
    }

    fn block_io(&mut self, io: &BlockIo) {
        if let Some(weight) = io.weight.filter(|weight| *weight > 0) {
            self.add("io.weight", &io_weight(weight));
        }
        for (key, throttles) in [
            ("rbps", &io.throttle_read_bps_device),
            ("wbps", &io.throttle_write_bps_device),
            ("riops", &io.throttle_read_iops_device),
            ("wiops", &io.throttle_write_iops_device),
        ] {
            for Throttle { major, minor, rate } in throttles {
                self.add("io.max", &format!("{major}:{minor} {key}={rate}"));
            }
        }
    }
}

fn positive_or_max(value: i64) -> String {
    if value > 0 {
        value.to_string()
    } else {
        "max".to_owned()
    }
}

/// Maps cgroup v1 shares (2 to 262144) onto weights (1 to 10000), as the runtime specification's v2 table does.
fn cpu_weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// Maps cgroup v1 `blkio.weight` (10 to 1000) onto `io.weight` (1 to 10000).
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<Vec<(String, String)>, LimitError> {
        let resources: Resources = serde_json::from_str(json).unwrap();
        Ok(settings(&resources)?
            .into_iter()
            .map(|s| (s.file, s.value))
            .collect())
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(file, value)| ((*file).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn limits_become_files() {
        let json = r#"{"memory":{"limit":1048576,"swap":3145728,"reservation":4096},
            "cpu":{"quota":150000,"period":100000,"shares":1024,"cpus":"0-1"},
            "pids":{"limit":64},
            "blockIO":{"throttleReadIOPSDevice":[{"major":254,"minor":0,"rate":9}]},
            "unified":{"memory.high":"max"}}"#;
        let expected = pairs(&[
            ("memory.max", "1048576"),
            ("memory.swap.max", "2097152"),
            ("memory.low", "4096"),
            ("cpu.weight", "39"),
            ("cpu.max", "150000 100000"),
            ("cpuset.cpus", "0-1"),
            ("pids.max", "64"),
            ("io.max", "254:0 riops=9"),
            ("memory.high", "max"),
        ]);
        assert_eq!(of(json), Ok(expected));
    }

    #[test]
    fn minus_one_is_unlimited() {
        let json = r#"{"memory":{"limit":-1,"swap":-1},"pids":{"limit":0},"cpu":{"quota":-1}}"#;
        let expected = pairs(&[
            ("memory.max", "max"),
            ("memory.swap.max", "max"),
            ("cpu.max", "max 100000"),
            ("pids.max", "max"),
        ]);
        assert_eq!(of(json), Ok(expected));
    }

    #[test]
    fn what_cannot_be_expressed_is_refused() {
        assert_eq!(
            of(r#"{"unified":{"../x.y":"1"}}"#),
            Err(LimitError::FileName("../x.y".to_owned()))
        );
        assert_eq!(
            of(r#"{"memory":{"limit":10,"swap":5}}"#),
            Err(LimitError::SwapBelowMemory {
                memory: 10,
                swap: 5
            })
        );
        assert_eq!(
            of(r#"{"hugepageLimits":[{"pageSize":"../2MB","limit":1}]}"#),
            Err(LimitError::PageSize("../2MB".to_owned()))
        );
    }

    #[test]
    fn weights_cover_their_range() {
        assert_eq!(
            [cpu_weight(0), cpu_weight(2), cpu_weight(262_144)],
            [1, 1, 10_000]
        );
        assert_eq!(
            [io_weight(0), io_weight(10), io_weight(1000)],
            [1, 1, 10_000]
        );
    }
}
