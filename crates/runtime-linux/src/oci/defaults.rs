//! What every container gets unless it asks otherwise (reference section 5.2, and Docker's).

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

/// Capabilities, without their `CAP_`.
pub const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Number of `/dev/kvm` (Documentation/admin-guide/devices.txt).
const KVM: (i64, i64) = (10, 232);

/// `/dev/kvm`, for containers that may run virtual machines.
pub fn kvm() -> Result<LinuxDevice, OciSpecError> {
    LinuxDeviceBuilder::default()
        .path("/dev/kvm")
        .typ(LinuxDeviceType::C)
        .major(KVM.0)
        .minor(KVM.1)
        .file_mode(0o666_u32)
        .build()
}

/// Devices a container may use: the default devices of the runtime specification and terminals. Any node
/// may be made (`CAP_MKNOD`), so that archives unpack; only these open. `/dev/kvm` is one of them
/// where `virtualization` is set.
pub fn devices(virtualization: bool) -> Result<Vec<LinuxDeviceCgroup>, OciSpecError> {
    let rule = |allow, kind, major, minor, access: &str| {
        let mut rule = LinuxDeviceCgroupBuilder::default()
            .allow(allow)
            .access(access)
            .build()?;
        rule.set_typ(kind);
        rule.set_major(major);
        rule.set_minor(minor);
        Ok::<_, OciSpecError>(rule)
    };
    let character = Some(LinuxDeviceType::C);
    let mut rules = vec![
        rule(false, None, None, None, "rwm")?,
        rule(true, character, None, None, "m")?,
        rule(true, Some(LinuxDeviceType::B), None, None, "m")?,
    ];
    // null, zero, full, random, urandom, tty, console, ptmx, /dev/pts/*, fuse, net/tun
    for (major, minor) in [
        (1, Some(3)),
        (1, Some(5)),
        (1, Some(7)),
        (1, Some(8)),
        (1, Some(9)),
        (5, Some(0)),
        (5, Some(1)),
        (5, Some(2)),
        (136, None),
        (10, Some(229)),
        (10, Some(200)),
    ] {
        rules.push(rule(true, character, Some(major), minor, "rwm")?);
    }
    if virtualization {
        rules.push(rule(true, character, Some(KVM.0), Some(KVM.1), "rwm")?);
    }
    Ok(rules)
}
