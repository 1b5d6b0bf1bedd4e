//! Devices of the container: the guest has a few of its own, and none of the host's.

use container_api::devices::USUAL;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use serde_json::{Value, json};

use super::ConfigError;

/// Checks the nodes that the container gets beside the usual ones.
///
/// # Errors
/// Where one is a device of the host: the same number is another device in a machine, or none.
pub fn check(nodes: &[LinuxDevice]) -> Result<(), ConfigError> {
    let is_usual = |node: &LinuxDevice| {
        let major = |(major, minor): &(i64, Option<i64>)| {
            *major == node.major() && minor.is_none_or(|minor| minor == node.minor())
        };
        matches!(node.typ(), LinuxDeviceType::C | LinuxDeviceType::U) && USUAL.iter().any(major)
    };
    let foreign = nodes
        .iter()
        .find(|node| node.typ() != LinuxDeviceType::P && !is_usual(node));
    match foreign {
        None => Ok(()),
        Some(node) => Err(ConfigError::unsupported(
            format!("linux.devices: {}", node.path().display()),
            "a machine has no devices of the host",
        )),
    }
}

/// What may be opened: what every container may (runtime-spec, "Default Devices"), over what `asked` says.
pub fn rules(asked: &[Value]) -> Value {
    let mut rules = vec![
        json!({"allow": false, "access": "rwm"}),
        json!({"allow": true, "type": "c", "access": "m"}),
        json!({"allow": true, "type": "b", "access": "m"}),
    ];
    // Nearly every specification begins so; the guest knows the rules that are left, and needs no filter of its own for them.
    let denies_all = |rule: &Value| {
        let set = |name| rule.get(name).is_some_and(|value| !value.is_null());
        rule["allow"] != json!(true)
            && matches!(rule["type"].as_str(), None | Some("a"))
            && !set("major")
            && !set("minor")
    };
    let first = usize::from(asked.first().is_some_and(denies_all));
    rules.extend(asked[first..].iter().cloned());
    rules.extend(USUAL.iter().map(|(major, minor)| {
        let mut rule = json!({"allow": true, "type": "c", "major": major, "access": "rwm"});
        if let Some(minor) = minor {
            rule["minor"] = json!(minor);
        }
        rule
    }));
    Value::Array(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_the_host_are_refused() {
        let node = |kind: &str, major: i64, minor: i64| -> LinuxDevice {
            serde_json::from_value(
                json!({"path": "/dev/x", "type": kind, "major": major, "minor": minor}),
            )
            .unwrap()
        };
        check(&[node("c", 10, 229), node("p", 0, 0), node("c", 136, 7)]).unwrap();
        for foreign in [node("b", 8, 0), node("c", 10, 232), node("b", 1, 3)] {
            let error = check(&[foreign]).unwrap_err().to_string();
            assert!(error.contains("linux.devices: /dev/x"), "{error}");
        }
    }

    #[test]
    fn the_usual_devices_may_be_opened_whatever_was_asked() {
        let usual = rules(&[]);
        assert_eq!(rules(&[json!({"allow": false, "access": "rwm"})]), usual);
        assert_eq!(rules(&[json!({"allow": false, "type": "a"})]), usual);
        let more = rules(&[json!({"allow": true, "type": "c", "major": 4, "access": "r"})]);
        assert_eq!(
            more.as_array().unwrap().len(),
            usual.as_array().unwrap().len() + 1
        );
    }
}
