//! Kernel parameters, by sysctl(8) names.

use std::fs;
use std::io;

use thiserror::Error;

/// Why a parameter was not set.
#[derive(Debug, Error)]
pub enum SysctlError {
    /// A name that is no path below /proc/sys.
    #[error("invalid kernel parameter name {0:?}")]
    Name(String),
    /// The kernel has no such parameter, or refuses the value.
    #[error("cannot set the kernel parameter {name} to {value:?}")]
    Set {
        name: String,
        value: String,
        #[source]
        source: io::Error,
    },
}

/// Writes `value` to the parameter `name` of the calling process's namespaces.
pub fn set(name: &str, value: &str) -> Result<(), SysctlError> {
    let path = path(name).ok_or_else(|| SysctlError::Name(name.to_owned()))?;
    fs::write(path, value).map_err(|source| SysctlError::Set {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    })
}

/// The first separator decides which one separates: `net.ipv4.conf.eth0/1.forwarding` and
/// `net/ipv4/conf/eth0.1/forwarding` are the same.
fn path(name: &str) -> Option<String> {
    let slashes = name
        .find(['.', '/'])
        .is_some_and(|at| name[at..].starts_with('/'));
    let path: String = if slashes {
        name.to_owned()
    } else {
        name.chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect()
    };
    let safe = path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains('\0');
    safe.then(|| format!("/proc/sys/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_separators_are_understood() {
        for (name, expected) in [
            ("net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "/proc/sys/net/ipv4/ip_forward"),
            (
                "net.ipv4.conf.eth0/1.forwarding",
                "/proc/sys/net/ipv4/conf/eth0.1/forwarding",
            ),
            (
                "net/ipv4/conf/eth0.1/forwarding",
                "/proc/sys/net/ipv4/conf/eth0.1/forwarding",
            ),
        ] {
            assert_eq!(path(name).as_deref(), Some(expected));
        }
    }

    #[test]
    fn names_stay_below_proc_sys() {
        for name in [
            "",
            ".",
            "a..b",
            "../x",
            "net/../../x",
            "/etc",
            "a.\0",
            "net.//..//x",
        ] {
            assert_eq!(path(name), None, "{name:?}");
        }
    }
}
