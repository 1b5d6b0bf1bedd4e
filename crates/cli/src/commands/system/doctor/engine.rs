//! The VMM and the accelerator, as the runtime helper finds them.

use std::process::Command;

use container_api::roots::Roots;
use serde::Deserialize;

use super::Check;

/// The plugin that starts machines.
const PLUGIN: &str = "container-runtime-linux";

/// What brings a VMM.
const INSTALL: &str = "apt-get install qemu-system-x86";

/// What lets namespaces confine a VMM.
const NAMESPACES: &str = "sysctl -w user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1 \
     kernel.apparmor_restrict_unprivileged_userns=0";

/// What the plugin's `probe` prints.
#[derive(Debug, Deserialize)]
struct Probe {
    vmm: String,
    accelerator: String,
    kvm: String,
    confinement: Option<Confinement>,
}

#[derive(Debug, Deserialize)]
struct Confinement {
    isolation: String,
    identity: String,
    landlock: u32,
    ceilings: String,
}

/// Asks the plugin.
pub fn checks(roots: &Roots) -> Vec<Check> {
    let program = roots.plugin(PLUGIN);
    let output = Command::new(&program)
        .arg("probe")
        .arg("--cache")
        .arg(roots.cache())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            let detail = format!("{}: {error}", program.display());
            return vec![Check::fail("runtime", detail, "make install")];
        }
    };
    if let Ok(probe) = serde_json::from_slice(&output.stdout) {
        return found(probe);
    }
    let detail = String::from_utf8_lossy(&output.stderr);
    let detail = detail
        .lines()
        .last()
        .unwrap_or("the probe said nothing")
        .to_owned();
    vec![
        Check::warn("accelerator", "not tried without a VMM", INSTALL),
        Check::fail("vmm", detail, INSTALL),
    ]
}

fn found(probe: Probe) -> Vec<Check> {
    let accelerator = if probe.accelerator == "kvm" {
        Check::ok("accelerator", probe.kvm)
    } else {
        let remedy = if probe.kvm.contains("may not be opened") {
            "usermod -aG kvm $USER, then log in again"
        } else {
            "enable virtualization in the firmware, or nested virtualization for this machine"
        };
        Check::warn(
            "accelerator",
            format!("TCG, about ten times slower: {}", probe.kvm),
            remedy,
        )
    };
    let mut checks = vec![accelerator, Check::ok("vmm", probe.vmm)];
    checks.extend(confined(probe.confinement));
    checks
}

/// The layers of the VMM's confinement. Its filter of system calls is not among them: without it none starts.
fn confined(found: Option<Confinement>) -> Vec<Check> {
    let Some(found) = found else {
        let detail = "neither namespaces nor Landlock: containers do not start";
        return vec![Check::fail("confinement", detail, NAMESPACES)];
    };
    let by_landlock = found.isolation == "Landlock";
    let isolation = if by_landlock {
        let detail = "by Landlock alone, in the host's namespaces";
        Check::warn("confinement", detail, NAMESPACES)
    } else {
        Check::ok("confinement", format!("by {}", found.isolation))
    };
    let identity = match found.identity.as_str() {
        "its owner\'s id" => Check::warn(
            "vmm user",
            "its owner\'s id",
            "apt-get install uidmap; usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER",
        ),
        other => Check::ok("vmm user", other),
    };
    let landlock = match found.landlock {
        0 => Check::warn(
            "landlock",
            "the kernel has none",
            "boot with lsm=landlock,...",
        ),
        version => Check::ok("landlock", format!("version {version}")),
    };
    let ceilings = Check::ok("ceilings", found.ceilings);
    vec![isolation, identity, landlock, ceilings]
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn status(accelerator: &str, kvm: &str) -> (Status, Option<String>) {
        let probe = Probe {
            vmm: "QEMU".into(),
            accelerator: accelerator.into(),
            kvm: kvm.into(),
            confinement: None,
        };
        let check = found(probe).remove(0);
        (check.status, check.remedy)
    }

    #[test]
    fn tcg_is_slow_and_not_a_failure() {
        assert_eq!(status("kvm", "KVM works"), (Status::Ok, None));
        let (verdict, remedy) = status("tcg", "/dev/kvm may not be opened by this user");
        assert_eq!(verdict, Status::Warn);
        assert!(remedy.unwrap().contains("usermod"));
    }
}
