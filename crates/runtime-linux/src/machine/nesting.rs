//! Whether machines of this host can run machines themselves.

use std::path::Path;

use container_api::{Error, Kind};
use container_engine::Accelerator;
use container_resource::check::Check;
use container_resource::machine::VIRTUALIZATION;

/// Where KVM says it (`nested=` of `kvm_intel` and `kvm_amd`).
const PARAMETERS: [&str; 2] = [
    "/sys/module/kvm_intel/parameters/nested",
    "/sys/module/kvm_amd/parameters/nested",
];
const OFF: &str = "nested virtualization is off on this host";
const REMEDY: &str = "Load kvm_intel or kvm_amd with nested=1.";

/// An error where they cannot.
pub fn check(accelerator: Accelerator) -> Result<(), Error> {
    if is_on(accelerator, PARAMETERS.map(Path::new)) {
        return Ok(());
    }
    Err(Error::new(Kind::Unsupported, OFF).with_hint(REMEDY))
}

/// The same as a line of `system doctor`.
pub fn finding(accelerator: Accelerator) -> Check {
    if is_on(accelerator, PARAMETERS.map(Path::new)) {
        Check::ok(VIRTUALIZATION, "a container may run virtual machines")
    } else {
        Check::warn(VIRTUALIZATION, OFF, REMEDY)
    }
}

/// Without KVM every guest can.
fn is_on(accelerator: Accelerator, parameters: [&Path; 2]) -> bool {
    let nests =
        |path| std::fs::read_to_string(path).is_ok_and(|value| value.starts_with(['Y', '1']));
    accelerator != Accelerator::Kvm || parameters.into_iter().any(nests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_says_whether_its_guests_can() {
        let scratch = tempfile::tempdir().unwrap();
        let (one, other) = (scratch.path().join("one"), scratch.path().join("other"));
        for (said, expected) in [("Y\n", true), ("1\n", true), ("N\n", false), ("0\n", false)] {
            std::fs::write(&other, said).unwrap();
            assert_eq!(is_on(Accelerator::Kvm, [&one, &other]), expected, "{said}");
            assert!(is_on(Accelerator::Software, [&one, &other]));
        }
        std::fs::remove_file(&other).unwrap();
        assert!(!is_on(Accelerator::Kvm, [&one, &other]));
    }
}
