//! The devices of a container: nodes in its `/dev`, and what it may open (Documentation/admin-guide/devices.txt).
//!
//! Devices that `--device` names are looked up by the guest, which has them, and added there.

use container_api::devices;
use container_resource::container::ContainerConfiguration;
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

use super::SpecError;
use super::process::administers;

const CHARACTER: LinuxDeviceType = LinuxDeviceType::C;
const BLOCK: LinuxDeviceType = LinuxDeviceType::B;

/// A character device with its place and mode.
type Node = (&'static str, LinuxDeviceType, i64, i64, u32);

const FUSE: Node = ("/dev/fuse", CHARACTER, 10, 229, 0o666);
const TUN: Node = ("/dev/net/tun", CHARACTER, 10, 200, 0o666);
const KVM: Node = ("/dev/kvm", CHARACTER, 10, 232, 0o666);
const LOOP_CONTROL: Node = ("/dev/loop-control", CHARACTER, 10, 237, 0o660);
/// Messages of the guest's kernel.
const KMSG: Node = ("/dev/kmsg", CHARACTER, 1, 11, 0o644);
/// Loop devices come into being when they are opened.
const LOOPS: [Node; 8] = [
    ("/dev/loop0", BLOCK, LOOP, 0, 0o660),
    ("/dev/loop1", BLOCK, LOOP, 1, 0o660),
    ("/dev/loop2", BLOCK, LOOP, 2, 0o660),
    ("/dev/loop3", BLOCK, LOOP, 3, 0o660),
    ("/dev/loop4", BLOCK, LOOP, 4, 0o660),
    ("/dev/loop5", BLOCK, LOOP, 5, 0o660),
    ("/dev/loop6", BLOCK, LOOP, 6, 0o660),
    ("/dev/loop7", BLOCK, LOOP, 7, 0o660),
];
const LOOP: i64 = 7;

/// Nodes beside those of the runtime specification.
pub fn nodes(configuration: &ContainerConfiguration) -> Result<Vec<LinuxDevice>, SpecError> {
    let mut nodes = vec![FUSE, TUN];
    if configuration.virtualization {
        nodes.push(KVM);
    }
    if administers(configuration)? {
        nodes.extend([LOOP_CONTROL, KMSG]);
        nodes.extend(LOOPS);
    }
    let nodes = nodes.into_iter().map(|(path, kind, major, minor, mode)| {
        LinuxDeviceBuilder::default()
            .path(path)
            .typ(kind)
            .major(major)
            .minor(minor)
            .file_mode(mode)
            .build()
    });
    Ok(nodes.collect::<Result<_, _>>()?)
}

/// Any node may be made (`CAP_MKNOD`), so that archives unpack; only these open. A privileged container may open any.
pub fn rules(configuration: &ContainerConfiguration) -> Result<Vec<LinuxDeviceCgroup>, SpecError> {
    if configuration.privileged {
        return Ok(vec![rule(true, None, None, None, "rwm")?]);
    }
    let mut rules = vec![
        rule(false, None, None, None, "rwm")?,
        rule(true, Some(CHARACTER), None, None, "m")?,
        rule(true, Some(BLOCK), None, None, "m")?,
    ];
    let mut allow = |kind, major, minor| -> Result<(), SpecError> {
        rules.push(rule(true, Some(kind), Some(major), minor, "rwm")?);
        Ok(())
    };
    for (major, minor) in devices::USUAL {
        allow(CHARACTER, major, minor)?;
    }
    if configuration.virtualization {
        allow(CHARACTER, KVM.2, Some(KVM.3))?;
    }
    if administers(configuration)? {
        allow(CHARACTER, LOOP_CONTROL.2, Some(LOOP_CONTROL.3))?;
        allow(CHARACTER, KMSG.2, Some(KMSG.3))?;
        allow(BLOCK, LOOP, None)?;
    }
    Ok(rules)
}

fn rule(
    allow: bool,
    kind: Option<LinuxDeviceType>,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> Result<LinuxDeviceCgroup, OciSpecError> {
    let mut rule = LinuxDeviceCgroupBuilder::default()
        .allow(allow)
        .access(access)
        .build()?;
    rule.set_typ(kind);
    rule.set_major(major);
    rule.set_minor(minor);
    Ok(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(configuration: &ContainerConfiguration) -> Vec<String> {
        let nodes = nodes(configuration).unwrap();
        nodes
            .iter()
            .map(|node| node.path().display().to_string())
            .collect()
    }

    #[test]
    fn who_administers_the_machine_has_loop_devices() {
        let mut configuration = crate::oci::tests::configuration();
        assert_eq!(paths(&configuration), ["/dev/fuse", "/dev/net/tun"]);
        assert_eq!(rules(&configuration).unwrap().len(), 14);
        configuration.cap_add = vec!["CAP_SYS_ADMIN".into()];
        configuration.virtualization = true;
        let found = paths(&configuration);
        for path in ["/dev/kvm", "/dev/loop-control", "/dev/loop7", "/dev/kmsg"] {
            assert!(found.iter().any(|found| found == path), "{path}");
        }
        let json = serde_json::to_string(&rules(&configuration).unwrap()).unwrap();
        assert!(json.contains(r#""type":"b","major":7"#), "{json}");
    }

    #[test]
    fn the_privileged_may_open_everything() {
        let mut configuration = crate::oci::tests::configuration();
        configuration.privileged = true;
        let rules = rules(&configuration).unwrap();
        assert!(rules.len() == 1 && rules[0].allow());
    }
}
