//! `config.json`, checked and translated.

use std::path::{Path, PathBuf};

use container_resource::container::{
    ContainerConfiguration, ImageDescription, ProcessConfiguration, Resources, User,
};
use container_resource::creation::DEFAULT_RUNTIME;
use container_resource::platform::Platform;
use jiff::Timestamp;
use oci_spec::runtime::{Process, Spec};
use serde_json::{Value, json};

use super::mounts::{Mounts, Shared};
use super::{ConfigError, devices, namespaces, properties, resources};

/// A `config.json` that a machine can carry out.
#[derive(Debug)]
pub struct Config {
    /// For the guest.
    spec: Value,
    root: PathBuf,
    process: ProcessConfiguration,
    hostname: Option<String>,
    read_only: bool,
    resources: Resources,
    shares: Vec<Shared>,
    unknown: Vec<String>,
}

impl Config {
    /// Reads `text`, the `config.json` in the directory `bundle`. Nothing but `text` is looked at.
    ///
    /// # Errors
    /// When it is not valid, or asks for what a machine cannot do.
    pub fn parse(text: &[u8], bundle: &Path) -> Result<Self, ConfigError> {
        let mut config: Value = serde_json::from_slice(text)?;
        let unknown = properties::unknown(&config)?;
        let typed: Spec = serde_json::from_value(config.clone())?;
        if !typed.version().starts_with("1.") {
            return Err(ConfigError::Version(typed.version().clone()));
        }
        let missing = ConfigError::Missing;
        let root = typed.root().as_ref().ok_or_else(|| missing("root"))?;
        let process = typed.process().as_ref().ok_or_else(|| missing("process"))?;
        let linux = typed.linux().as_ref().ok_or_else(|| missing("linux"))?;
        if root.path().as_os_str().is_empty() {
            return Err(missing("root.path"));
        }
        let first = first_process(process)?;
        let propagation = linux.rootfs_propagation().as_deref().unwrap_or_default();
        if matches!(propagation, "shared" | "rshared") {
            return Err(ConfigError::unsupported(
                "linux.rootfsPropagation",
                "mounts of a machine do not spread to the host",
            ));
        }
        check_filter(&config)?;
        devices::check(linux.devices().as_deref().unwrap_or_default())?;
        let namespaces = namespaces::namespaces(linux.namespaces().as_deref().unwrap_or_default())?;
        let Mounts { spec, shares } =
            Mounts::translate(typed.mounts().as_deref().unwrap_or_default(), bundle)?;
        let limits = linux.resources().as_ref();
        let machine = resources::machine(limits);
        let read_only = root.readonly().unwrap_or_default();

        config["root"] = json!({ "path": "rootfs", "readonly": read_only });
        config["mounts"] = Value::Array(spec);
        config["linux"]["namespaces"] = namespaces;
        if !config["linux"]["resources"].is_object() {
            config["linux"]["resources"] = json!({});
        }
        let resources = &mut config["linux"]["resources"];
        let asked = resources["devices"].as_array().cloned().unwrap_or_default();
        resources["devices"] = devices::rules(&asked);
        Ok(Self {
            spec: config,
            root: root.path().clone(),
            process: first,
            hostname: typed.hostname().clone().filter(|name| !name.is_empty()),
            read_only,
            resources: machine,
            shares,
            unknown,
        })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn shares(&self) -> &[Shared] {
        &self.shares
    }

    pub(super) fn unknown_properties(&self) -> &[String] {
        &self.unknown
    }

    pub(super) fn has_terminal(&self) -> bool {
        self.process.terminal
    }

    /// What the guest carries out.
    pub(super) fn spec(&self) -> &Value {
        &self.spec
    }

    /// What the machine of the container `id` is made of.
    pub(super) fn configuration(&self, id: &str) -> ContainerConfiguration {
        ContainerConfiguration {
            id: id.to_owned(),
            image: ImageDescription {
                reference: self.root.display().to_string(),
                ..ImageDescription::default()
            },
            mounts: self
                .shares
                .iter()
                .map(|share| share.mount.clone())
                .collect(),
            read_only: self.read_only,
            init_process: self.process.clone(),
            platform: Platform::host(),
            resources: self.resources.clone(),
            runtime_handler: DEFAULT_RUNTIME.to_owned(),
            creation_date: Timestamp::now(),
            hostname: self.hostname.clone(),
            ..ContainerConfiguration::default()
        }
    }
}

/// The process as far as the host has to know it.
fn first_process(process: &Process) -> Result<ProcessConfiguration, ConfigError> {
    let arguments = process.args().as_deref().unwrap_or_default();
    let (executable, arguments) = arguments
        .split_first()
        .ok_or(ConfigError::Missing("process.args"))?;
    let working_directory = process.cwd().to_str().filter(|path| path.starts_with('/'));
    let working_directory = working_directory.ok_or_else(|| {
        ConfigError::unsupported("process.cwd", "it is not an absolute path in UTF-8")
    })?;
    Ok(ProcessConfiguration {
        executable: executable.clone(),
        arguments: arguments.to_vec(),
        environment: process.env().clone().unwrap_or_default(),
        working_directory: working_directory.to_owned(),
        terminal: process.terminal().unwrap_or_default(),
        user: User::Id {
            uid: process.user().uid(),
            gid: process.user().gid(),
        },
        ..ProcessConfiguration::default()
    })
}

/// Answers of a filter of system calls that need a process of the host.
fn check_filter(config: &Value) -> Result<(), ConfigError> {
    let filter = &config["linux"]["seccomp"];
    let rules = filter["syscalls"].as_array().into_iter().flatten();
    let mut actions = rules
        .map(|rule| &rule["action"])
        .chain([&filter["defaultAction"]]);
    if actions.any(|action| action == "SCMP_ACT_NOTIFY") {
        return Err(ConfigError::unsupported(
            "linux.seccomp: SCMP_ACT_NOTIFY",
            "a process of the host cannot answer for a machine's system calls",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usual() -> Value {
        json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs", "readonly": true},
            "hostname": "box",
            "process": {"args": ["sh", "-c", "true"], "cwd": "/", "env": ["A=b"],
                        "user": {"uid": 3, "gid": 4}, "capabilities": {"bounding": ["CAP_KILL"]}},
            "mounts": [{"destination": "/data", "type": "bind", "source": "data", "options": ["rbind"]}],
            "linux": {"namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
                      "resources": {"memory": {"limit": 1_073_741_824_u64}}},
        })
    }

    fn parse(config: &Value) -> Result<Config, String> {
        let text = serde_json::to_vec(config).unwrap();
        Config::parse(&text, Path::new("/b")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_usual_configuration_becomes_a_machine_and_a_specification() {
        let config = parse(&usual()).unwrap();
        let made = config.configuration("c1");
        assert_eq!(made.init_process.executable, "sh");
        assert_eq!(made.mounts[0].source, "/b/data");
        assert_eq!(
            (made.read_only, made.hostname.as_deref()),
            (true, Some("box"))
        );
        let spec = config.spec();
        assert_eq!(
            spec["process"]["capabilities"]["bounding"],
            json!(["CAP_KILL"])
        );
        assert_eq!(spec["mounts"][0]["type"], "virtiofs");
        assert_eq!(spec["linux"]["namespaces"].as_array().unwrap().len(), 5);
        assert!(spec["linux"]["resources"]["devices"].is_array());
    }

    #[test]
    fn what_cannot_be_carried_out_is_an_error() {
        let cases = [
            ("/ociVersion", json!("2.0.0"), "version \"2.0.0\""),
            ("/root", json!(null), "lacks `root`"),
            ("/root/path", json!(""), "lacks `root.path`"),
            ("/process", json!(null), "lacks `process`"),
            ("/process/args", json!([]), "lacks `process.args`"),
            ("/process/cwd", json!("tmp"), "`process.cwd`"),
            ("/linux", json!(null), "lacks `linux`"),
            (
                "/linux/rootfsPropagation",
                json!("rshared"),
                "do not spread",
            ),
            (
                "/linux/seccomp",
                json!({"defaultAction": "SCMP_ACT_NOTIFY"}),
                "SCMP_ACT_NOTIFY",
            ),
            ("/hooks", json!({"poststop": [{"path": "/x"}]}), "`hooks`"),
            ("/process/args", json!("sh"), "is not valid"),
            ("/mounts", json!({}), ""),
        ];
        for (place, value, expected) in cases {
            let mut config = usual();
            let (above, name) = place.rsplit_once('/').unwrap();
            config.pointer_mut(above).unwrap()[name] = value;
            match parse(&config) {
                Err(error) => assert!(error.contains(expected), "{place}: {error}"),
                Ok(_) => assert!(expected.is_empty(), "{place} is accepted"),
            }
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z/]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-z]{1,8}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_text_is_fatal(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Config::parse(&text, Path::new("/b"));
        }

        #[test]
        fn no_value_in_any_place_is_fatal(
            place in prop::sample::select(vec!["/root", "/process", "/mounts", "/linux", "/linux/resources", "/linux/seccomp",
                "/linux/namespaces", "/linux/devices", "/process/user", "/process/capabilities", "/process/rlimits", "/hooks"]),
            value in any_json(),
        ) {
            let mut config = usual();
            let (above, name) = place.rsplit_once('/').unwrap();
            config.pointer_mut(above).unwrap()[name] = value;
            let _ = parse(&config);
        }
    }
}
