//! Docker's seccomp profiles: one file for every architecture and every set of capabilities, of which a container
//! gets what fits it, as Docker decides (moby, `profiles/seccomp`).

use std::collections::HashSet;

use oci_spec::runtime::{Capability, LinuxSeccomp};
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::{Error, Map, Value};

use super::process::capability;

/// The machine, as Go and as libseccomp name it.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: (&str, &str) = ("amd64", "SCMP_ARCH_X86_64");
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: (&str, &str) = ("arm64", "SCMP_ARCH_AARCH64");
/// The guest's kernel.
const KERNEL: (u32, u32) = (6, 12);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    arch_map: Option<Vec<Architecture>>,
    syscalls: Option<Vec<Rule>>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Rule {
    /// As profiles had it before `names`.
    name: Option<String>,
    names: Option<Vec<String>>,
    includes: Option<Conditions>,
    excludes: Option<Conditions>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conditions {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// What `profile` means for a container on this architecture whose bounding set is `capabilities`. A profile in
/// the form of the OCI runtime specification comes out as it is.
///
/// # Errors
/// When this is not a profile.
pub fn resolve(profile: &Value, capabilities: &HashSet<Capability>) -> Result<LinuxSeccomp, Error> {
    let mut profile = Profile::deserialize(profile)?;
    if let Some(map) = profile.arch_map {
        let listed = profile.rest.get("architectures").and_then(Value::as_array);
        if !map.is_empty() && listed.is_some_and(|listed| !listed.is_empty()) {
            return Err(Error::custom("it has both architectures and archMap"));
        }
        let own = map
            .into_iter()
            .find(|map| map.architecture == ARCHITECTURE.1);
        if let Some(own) = own {
            let mut names = vec![own.architecture];
            names.extend(own.sub_architectures.unwrap_or_default());
            profile.rest.insert("architectures".into(), names.into());
        }
    }
    let mut rules = Vec::new();
    for mut rule in profile.syscalls.unwrap_or_default() {
        if !rule.applies(capabilities)? {
            continue;
        }
        let mut names = rule.names.unwrap_or_default();
        match rule.name.filter(|name| !name.is_empty()) {
            Some(_) if !names.is_empty() => {
                return Err(Error::custom("a rule has both name and names"));
            }
            name => names.extend(name),
        }
        rule.rest.insert("names".into(), names.into());
        rules.push(Value::Object(rule.rest));
    }
    profile.rest.insert("syscalls".into(), rules.into());
    serde_json::from_value(Value::Object(profile.rest))
}

impl Rule {
    fn applies(&self, capabilities: &HashSet<Capability>) -> Result<bool, Error> {
        let has = |name: &String| capability(name).is_ok_and(|found| capabilities.contains(&found));
        let own = |name: &String| name == ARCHITECTURE.0;
        let listed = |names: &Option<Vec<String>>| names.clone().unwrap_or_default();
        if let Some(conditions) = &self.excludes {
            let old = conditions
                .min_kernel
                .as_deref()
                .map_or(Ok(false), reached)?;
            if old
                || listed(&conditions.arches).iter().any(own)
                || listed(&conditions.caps).iter().any(has)
            {
                return Ok(false);
            }
        }
        if let Some(conditions) = &self.includes {
            let arches = listed(&conditions.arches);
            let recent = conditions.min_kernel.as_deref().map_or(Ok(true), reached)?;
            return Ok(recent
                && (arches.is_empty() || arches.iter().any(own))
                && listed(&conditions.caps).iter().all(has));
        }
        Ok(true)
    }
}

/// Whether the guest's kernel is at least `version`, `<major>.<minor>`.
fn reached(version: &str) -> Result<bool, Error> {
    let parts = version
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
    match parts {
        Some(wanted) => Ok(KERNEL >= wanted),
        None => Err(Error::custom(format_args!(
            "minKernel {version:?} is no version"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(profile: &Value, capabilities: &[Capability]) -> Vec<String> {
        let resolved = resolve(profile, &capabilities.iter().copied().collect()).unwrap();
        let rules = resolved.syscalls().clone().unwrap_or_default();
        rules.iter().flat_map(|rule| rule.names().clone()).collect()
    }

    #[test]
    fn rules_are_those_of_the_architecture_the_capabilities_and_the_kernel() {
        let other = if ARCHITECTURE.0 == "amd64" {
            "arm64"
        } else {
            "amd64"
        };
        let rule = |name: &str, key: &str, conditions: Value| {
            json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "",
                   key: conditions})
        };
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [
                rule("always", "includes", json!({})),
                rule("mount", "includes", json!({"caps": ["CAP_SYS_ADMIN"]})),
                rule("clone", "excludes", json!({"caps": ["CAP_SYS_ADMIN"]})),
                rule("own", "includes", json!({"arches": [ARCHITECTURE.0, "x32"]})),
                rule("not-own", "excludes", json!({"arches": [ARCHITECTURE.0]})),
                rule("other", "includes", json!({"arches": [other]})),
                rule("old", "includes", json!({"minKernel": "4.8"})),
                rule("future", "includes", json!({"minKernel": "99.0"})),
                {"name": "single", "action": "SCMP_ACT_ALLOW"},
            ],
        });
        assert_eq!(
            names(&profile, &[]),
            ["always", "clone", "own", "old", "single"]
        );
        assert_eq!(
            names(&profile, &[Capability::SysAdmin]),
            ["always", "mount", "own", "old", "single"]
        );
    }

    #[test]
    fn architectures_come_from_the_map() {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "archMap": [
                {"architecture": "SCMP_ARCH_S390X", "subArchitectures": ["SCMP_ARCH_S390"]},
                {"architecture": ARCHITECTURE.1, "subArchitectures": ["SCMP_ARCH_X32"]},
            ],
        });
        let resolved = resolve(&profile, &HashSet::new()).unwrap();
        assert_eq!(
            serde_json::to_value(resolved.architectures()).unwrap(),
            json!([ARCHITECTURE.1, "SCMP_ARCH_X32"])
        );
    }

    #[test]
    fn contradictions_are_refused() {
        for profile in [
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                   "archMap": [{"architecture": "SCMP_ARCH_X86_64"}]}),
            json!({"defaultAction": "SCMP_ACT_ALLOW",
                   "syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}]}),
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"],
                   "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "new"}}]}),
        ] {
            assert!(resolve(&profile, &HashSet::new()).is_err(), "{profile}");
        }
    }
}
