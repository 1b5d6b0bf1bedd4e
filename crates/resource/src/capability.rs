//! Linux capabilities (`capabilities(7)`).

/// What stands for every capability.
pub const ALL: &str = "ALL";

/// Every capability, in the order of its number (`linux/capability.h`).
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Not the name of a capability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid capability '{0}'")]
pub struct CapabilityError(String);

/// A capability in any case, with or without `CAP_`, as `CAP_X`; or [`ALL`].
///
/// # Errors
/// When Linux has none of that name.
pub fn parse(text: &str) -> Result<String, CapabilityError> {
    let upper = text.to_ascii_uppercase();
    if upper == ALL {
        return Ok(upper);
    }
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES
        .iter()
        .find(|name| name.strip_prefix("CAP_") == Some(bare))
        .map(|&name| name.to_owned())
        .ok_or_else(|| CapabilityError(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn case_and_prefix_do_not_matter() {
        for text in ["net_admin", "CAP_NET_ADMIN", "Cap_Net_Admin"] {
            assert_eq!(parse(text).as_deref(), Ok("CAP_NET_ADMIN"));
        }
        assert_eq!(parse("all").as_deref(), Ok("ALL"));
    }

    #[test]
    fn the_error_names_the_value() {
        for text in ["", "CAP_", "NET-ADMIN", "CAP_CAP_CHOWN", "CAP_ALL"] {
            assert_eq!(parse(text), Err(CapabilityError(text.into())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_is_idempotent(text in "(CAP_)?[A-Za-z_]{2,20}") {
            if let Ok(name) = parse(&text) {
                prop_assert_eq!(parse(&name), Ok(name.clone()));
            }
        }
    }
}
