//! Paths hidden from a container or made read-only in it: `--masked-path`, `--read-only-path`.

use crate::tmpfs::is_absolute;

/// The word that clears the defaults.
pub const NONE: &str = "NONE";

/// Masked in every container unless it says otherwise (as Apple's container has it).
pub const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Read-only in every container unless it says otherwise (as Apple's container has it).
pub const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Not an absolute path and not [`NONE`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid path '{0}': an absolute path or {NONE} is expected")]
pub struct HiddenPathError(String);

/// An absolute path, or [`NONE`].
///
/// # Errors
/// When it is neither.
pub fn parse(text: &str) -> Result<String, HiddenPathError> {
    if text == NONE || is_absolute(text) {
        Ok(text.to_owned())
    } else {
        Err(HiddenPathError(text.to_owned()))
    }
}

/// The whole list of a container: `given` added to `defaults`, or to nothing where [`NONE`] stands. Absent when
/// nothing was given, so that the runtime's defaults hold.
pub fn resolve(given: &[String], defaults: &[&str]) -> Option<Vec<String>> {
    if given.is_empty() {
        return None;
    }
    let mut paths: Vec<String> = if given.iter().any(|path| path == NONE) {
        Vec::new()
    } else {
        defaults.iter().map(|&path| path.to_owned()).collect()
    };
    for path in given.iter().filter(|path| *path != NONE) {
        if !paths.contains(path) {
            paths.push(path.clone());
        }
    }
    Some(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_paths_come_after_the_defaults() {
        let given = |list: &[&str]| {
            resolve(
                &list.iter().map(|&p| p.to_owned()).collect::<Vec<_>>(),
                &["/d"],
            )
        };
        assert_eq!(given(&[]), None);
        assert_eq!(given(&["/a", "/d"]).unwrap(), ["/d", "/a"]);
        assert_eq!(given(&["NONE"]).unwrap(), Vec::<String>::new());
        assert_eq!(given(&["/a", "NONE"]).unwrap(), ["/a"]);
    }

    #[test]
    fn relative_paths_are_refused() {
        assert!(parse("proc").is_err());
        assert!(parse("/proc/../etc").is_err());
        assert!(parse("none").is_err());
        assert_eq!(parse("/proc/kcore").as_deref(), Ok("/proc/kcore"));
    }
}
