//! The five capability sets of a process (capabilities(7)).

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
};

use super::failure::{Context, Failure};
use super::plan::PlanError;
use crate::spec;

/// Names in the order of their numbers in linux/capability.h.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What each of the sets is to hold.
#[derive(Debug)]
pub struct CapabilityPlan {
    bounding: CapabilitySet,
    sets: CapabilitySets,
    ambient: CapabilitySet,
}

impl CapabilityPlan {
    /// Looks the names up.
    pub fn new(sets: &spec::Capabilities) -> Result<Self, PlanError> {
        Ok(Self {
            bounding: parse(&sets.bounding)?,
            sets: CapabilitySets {
                effective: parse(&sets.effective)?,
                permitted: parse(&sets.permitted)?,
                inheritable: parse(&sets.inheritable)?,
            },
            ambient: parse(&sets.ambient)?,
        })
    }

    /// Gives up what the process may never have. Needs `CAP_SETPCAP`, so it comes before the change of user.
    pub fn bound(&self) -> Result<(), Failure> {
        for capability in all().filter(|capability| !self.bounding.contains(*capability)) {
            match remove_capability_from_bounding_set(capability) {
                // A kernel that does not know a capability cannot grant it either.
                Err(Errno::INVAL) => {}
                result => result.context(|| "cannot reduce the bounding capabilities")?,
            }
        }
        Ok(())
    }

    /// Sets the other sets; the change of user kept the permitted ones.
    pub fn apply(&self) -> Result<(), Failure> {
        set_capabilities(None, self.sets).context(|| "cannot set the capabilities")?;
        clear_ambient_capability_set().context(|| "cannot clear the ambient capabilities")?;
        // The kernel raises none that is not permitted and inheritable, too. `runc spec` and `crun spec` name such, and both
        // runtimes leave them out.
        let raised = self.ambient & self.sets.permitted & self.sets.inheritable;
        for capability in all().filter(|capability| raised.contains(*capability)) {
            configure_capability_in_ambient_set(capability, true)
                .context(|| "cannot raise an ambient capability")?;
        }
        Ok(())
    }
}

fn all() -> impl Iterator<Item = CapabilitySet> {
    (0..NAMES.len()).map(|number| CapabilitySet::from_bits_retain(1 << number))
}

fn parse(names: &[String]) -> Result<CapabilitySet, PlanError> {
    let mut set = CapabilitySet::empty();
    for name in names {
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let number = NAMES
            .iter()
            .position(|known| *known == short)
            .ok_or_else(|| PlanError::Capability(name.clone()))?;
        set |= CapabilitySet::from_bits_retain(1 << number);
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_kernels_numbers() {
        let set = |name: &str| parse(&[name.to_owned()]).unwrap();
        assert_eq!(set("CAP_CHOWN"), CapabilitySet::CHOWN);
        assert_eq!(set("sys_admin"), CapabilitySet::SYS_ADMIN);
        assert_eq!(set("CAP_SETFCAP"), CapabilitySet::SETFCAP);
        assert_eq!(set("CAP_AUDIT_READ"), CapabilitySet::AUDIT_READ);
        assert_eq!(
            set("CAP_CHECKPOINT_RESTORE"),
            CapabilitySet::CHECKPOINT_RESTORE
        );
        assert!(matches!(
            parse(&["CAP_FLY".to_owned()]),
            Err(PlanError::Capability(_))
        ));
    }
}
