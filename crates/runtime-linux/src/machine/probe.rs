//! What this host can start machines with, as `container system doctor` shows it.

use std::path::Path;

use container_api::Chain;
use container_engine::accelerator::Verdict;
use container_engine::confinement::survey::{Survey, survey};
use container_engine::vhost::{self, VhostError};
use container_engine::{Accelerator, Engine, Exclusion, INSTALL};
use container_resource::check::Check;

use super::nesting;

/// What lets namespaces confine a VMM.
const NAMESPACES: &str = "sysctl -w user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1 \
     kernel.apparmor_restrict_unprivileged_userns=0";
/// What gives a VMM an id that owns nothing.
const SUBORDINATE_IDS: &str = "apt-get install uidmap; \
     usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER";

/// Finds the VMM and tries KVM; slow answers are kept in `cache` until the next boot of the host.
pub async fn probe(cache: &Path) -> Vec<Check> {
    let engine = match Engine::open(cache).await {
        Ok(engine) => engine,
        Err(error) => {
            let detail = Chain(&error).to_string();
            return vec![
                Check::warn("accelerator", "not tried without a VMM", INSTALL),
                Check::fail("vmm", detail, INSTALL),
            ];
        }
    };
    let mut checks = vec![
        accelerator(engine.accelerator(), engine.kvm()),
        Check::ok("vmm", engine.vmm()),
        Check::ok("templates", templates(&engine.exclusions())),
        nesting::finding(engine.accelerator()),
        vhost_net(engine.accelerator(), Path::new(vhost::PATH)),
    ];
    match survey(false).await {
        Ok(found) => checks.extend(confined(&found)),
        Err(error) => {
            tracing::warn!("{error:#}");
            let detail = "neither namespaces nor Landlock: containers do not start";
            checks.push(Check::fail("confinement", detail, NAMESPACES));
        }
    }
    checks
}

fn accelerator(used: Accelerator, kvm: &Verdict) -> Check {
    if used == Accelerator::Kvm {
        return Check::ok("accelerator", kvm.to_string());
    }
    let remedy = match kvm {
        Verdict::NoPermission => {
            "let this user open /dev/kvm: by `usermod -aG kvm $USER` where a group kvm has it, then log in again"
        }
        Verdict::Absent => {
            "enable virtualization in the firmware, or nested virtualization for this machine"
        }
        _ => "use a host, or a virtual machine, whose KVM runs stock kernels",
    };
    let detail = format!("{used}, about ten times slower: {kvm}");
    Check::warn("accelerator", detail, remedy)
}

/// Whether packets of machines go past the VMM. Where they do not, that is slower, and nothing else.
fn vhost_net(accelerator: Accelerator, path: &Path) -> Check {
    const NAME: &str = "vhost-net";
    let by_vmm = "packets go through the VMM";
    if accelerator != Accelerator::Kvm {
        let detail = format!("not used without KVM: {by_vmm}");
        return Check::ok(NAME, detail);
    }
    let Err(error) = vhost::open(path) else {
        return Check::ok(NAME, "used: packets go past the VMM");
    };
    let remedy = match error {
        VhostError::Absent => "modprobe vhost_net",
        VhostError::NoPermission => {
            "let this user open /dev/vhost-net: by `usermod -aG kvm $USER` where a group kvm has it, then log in again"
        }
        VhostError::Open(_) | VhostError::Refused(_) => {
            "modprobe -r vhost_net && modprobe vhost_net"
        }
    };
    let detail = format!("not used, as {}: {by_vmm}", Chain(&error));
    Check::warn(NAME, detail, remedy)
}

/// Which machines are not started from a template.
fn templates(exclusions: &[Exclusion]) -> String {
    let reasons: Vec<_> = exclusions.iter().map(Exclusion::to_string).collect();
    format!(
        "a machine starts from a template, or boots when {}",
        reasons.join(", or ")
    )
}

/// The layers of the VMM's confinement. Its filter of system calls is not among them: without it none starts.
fn confined(found: &Survey) -> [Check; 4] {
    let isolation = if found.has_namespaces {
        Check::ok("confinement", format!("by {}", found.isolation))
    } else {
        let detail = "by Landlock alone, in the host's namespaces";
        Check::warn("confinement", detail, NAMESPACES)
    };
    let identity = if found.is_another_user {
        Check::ok("vmm user", found.identity)
    } else {
        Check::warn("vmm user", found.identity, SUBORDINATE_IDS)
    };
    let landlock = match found.landlock {
        0 => Check::warn(
            "landlock",
            "the kernel has none",
            "boot with lsm=landlock,...",
        ),
        version => Check::ok("landlock", format!("version {version}")),
    };
    let ceilings = Check::ok("ceilings", found.ceilings.clone());
    [isolation, identity, landlock, ceilings]
}

#[cfg(test)]
mod tests {
    use container_resource::check::Status;

    use super::*;

    #[test]
    fn translation_is_slow_and_not_a_failure() {
        let check = accelerator(Accelerator::Kvm, &Verdict::Works);
        assert_eq!((check.status, check.remedy), (Status::Ok, None));
        let check = accelerator(Accelerator::Software, &Verdict::NoPermission);
        assert_eq!(check.status, Status::Warn);
        assert!(check.remedy.unwrap().contains("usermod"));
    }

    #[test]
    fn whether_packets_go_past_the_vmm_is_told_with_the_reason() {
        let told = |accelerator, path: &str| vhost_net(accelerator, Path::new(path));
        let check = told(Accelerator::Software, "/dev/null");
        assert_eq!((check.status, check.remedy), (Status::Ok, None));
        assert!(check.detail.contains("without KVM"), "{}", check.detail);
        let check = told(Accelerator::Kvm, "/nowhere/vhost-net");
        assert_eq!(check.status, Status::Warn);
        assert!(check.detail.contains("has none"), "{}", check.detail);
        assert_eq!(check.remedy.as_deref(), Some("modprobe vhost_net"));
        let check = told(Accelerator::Kvm, "/dev/null");
        assert_eq!(check.status, Status::Warn);
        assert!(check.detail.contains("not usable"), "{}", check.detail);
    }

    #[test]
    fn what_is_missing_is_told_layer_by_layer() {
        let full = Survey {
            isolation: "a user namespace",
            has_namespaces: true,
            identity: "an id of its own",
            is_another_user: true,
            landlock: 6,
            ceilings: "limits".to_owned(),
        };
        assert!(
            confined(&full)
                .iter()
                .all(|check| check.status == Status::Ok)
        );
        let bare = Survey {
            has_namespaces: false,
            is_another_user: false,
            landlock: 0,
            ..full
        };
        let statuses = confined(&bare).map(|check| check.status);
        assert_eq!(
            statuses,
            [Status::Warn, Status::Warn, Status::Warn, Status::Ok]
        );
    }
}
