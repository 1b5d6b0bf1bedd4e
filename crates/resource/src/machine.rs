//! Container machines: long-lived containers with an init of their own, for people to live in (as Apple's container has it).
//!
//! A machine is a container whose configuration has a part for it: [`MachineSettings`]. What follows from that part and the image
//! is decided here, at creation and whenever a value is changed.

mod change;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use change::{Change, ChangeError};

use crate::bind;
use crate::connectivity::Connectivity;
use crate::container::{
    ContainerConfiguration, ContainerState, ImageDescription, ManagedContainer, Mount, MountKind,
    ProcessConfiguration, Resources, RestartPolicy,
};
use crate::creation::DEFAULT_RUNTIME;
use crate::environment;
use crate::image_settings::ImageSettings;
use crate::label::well_known;
use crate::name::{self, NameError};
use crate::platform::Platform;
use crate::process::default_path;
use crate::reference::{Reference, Version};

/// The program that is a machine's first process.
pub const INIT: &str = "/sbin/init";
/// The value of the label [`well_known::PLUGIN`] that hides a machine's container among the others.
pub const PLUGIN: &str = "machine";
/// What the plugin that starts machines calls the check whether they can run virtual machines.
pub const VIRTUALIZATION: &str = "virtualization";
/// Seconds that a machine has to shut down by itself.
pub const GRACE: u32 = 10;
/// The longest name, in bytes: its container's has a hyphen and six digits more, and a host name has 64.
pub const NAME_MAX: usize = 57;
/// The longest name of a snapshot, in bytes.
pub const SNAPSHOT_NAME_MAX: usize = 63;

/// What is asked for of a machine, beside what every container has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineSettings {
    /// Its name.
    pub id: String,
    /// How the user's home is seen.
    pub home_mount: HomeMount,
    /// Whose it is.
    pub user_setup: MachineUser,
    /// What was attached to its image says of it.
    #[serde(default, flatten)]
    pub attached: Attached,
}

/// What an artifact that refers to an image says of machines made of it (Apple's tool: `application/vnd.apple.container.machine.config.v1+json`
/// and `application/vnd.apple.container.machine.setup.v1+sh`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attached {
    /// The login shell of the user, where the machine has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// What sets the user up in the place of our script: of at most [`SETUP_LIMIT`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup_script: Option<String>,
}

/// The largest setup script, in bytes: it is handed over in a variable, of which Linux takes 128 KiB.
pub const SETUP_LIMIT: usize = 96 << 10;

/// The user of the host whose machine it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineUser {
    /// Login name.
    pub username: String,
    /// User id on the host and in the machine.
    pub uid: u32,
    /// Group id on the host and in the machine.
    pub gid: u32,
    /// Home directory on the host and in the machine.
    #[serde(default)]
    pub home: String,
    /// Login shell on the host: the machine's, where it has it.
    #[serde(default)]
    pub shell: String,
}

/// How a machine sees its user's home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HomeMount {
    /// It can be read.
    #[serde(rename = "ro")]
    ReadOnly,
    /// It can be written, too.
    #[default]
    #[serde(rename = "rw")]
    ReadWrite,
    /// The machine has a home of its own.
    #[serde(rename = "none")]
    None,
}

impl HomeMount {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "ro",
            Self::ReadWrite => "rw",
            Self::None => "none",
        }
    }
}

impl std::str::FromStr for HomeMount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ro" => Ok(Self::ReadOnly),
            "rw" => Ok(Self::ReadWrite),
            "none" => Ok(Self::None),
            _ => Err("ro, rw or none is expected".to_owned()),
        }
    }
}

/// A machine that is to be made.
#[derive(Clone, Debug)]
pub struct MachineCreation {
    /// Its settings; [`MachineSettings::id`] is a valid name.
    pub settings: MachineSettings,
    /// Six hexadecimal digits, for the name of its container.
    pub suffix: String,
    /// The image, resolved.
    pub image: ImageDescription,
    /// Which of the image's platforms.
    pub platform: Platform,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Bytes.
    pub memory: u64,
    /// It may run virtual machines.
    pub virtualization: bool,
    /// Kernel to boot: an absolute path of the host.
    pub kernel: Option<String>,
}

impl MachineCreation {
    /// The configuration of its container.
    ///
    /// # Errors
    /// When the name is invalid.
    pub fn configuration(
        self,
        image: &ImageSettings,
        now: Timestamp,
    ) -> Result<ContainerConfiguration, NameError> {
        let machine = self.settings;
        let id = format!("{}-{}", machine.id, self.suffix);
        name::validate(&id)?;
        let mut networks = Connectivity::default().networks(&machine.id);
        for network in &mut networks {
            network.options.aliases = aliases(&machine.id, &id);
        }
        // systemd and others look for this variable to know that they are in no whole computer.
        let own = ["container=container".to_owned(), default_path()];
        let environment = environment::merge(own.iter().chain(&image.env));
        Ok(ContainerConfiguration {
            mounts: home(&machine).into_iter().collect(),
            labels: BTreeMap::from([(well_known::PLUGIN.to_owned(), PLUGIN.to_owned())]),
            networks,
            dns: Some(crate::container::DnsConfiguration::default()),
            virtualization: self.virtualization,
            ssh: true,
            init_process: ProcessConfiguration {
                executable: INIT.to_owned(),
                environment,
                working_directory: "/".to_owned(),
                terminal: true,
                ..ProcessConfiguration::default()
            },
            platform: self.platform,
            resources: Resources {
                cpus: self.cpus,
                memory_in_bytes: self.memory,
                ..Resources::default()
            },
            runtime_handler: DEFAULT_RUNTIME.to_owned(),
            masked_paths: Some(Vec::new()),
            readonly_paths: Some(Vec::new()),
            creation_date: now,
            // Any process of it may be asked to do that: see the apiserver's machines.
            stop_signal: Some("SIGCONT".to_owned()),
            stop_timeout: Some(GRACE),
            hostname: Some(machine.id.clone()),
            privileged: true,
            restart_policy: Some(RestartPolicy::OnReboot {}),
            kernel: self.kernel,
            image: self.image,
            machine: Some(machine),
            id,
            ..ContainerConfiguration::default()
        })
    }
}

/// Names of the machine `name` on its network beside its own: that of its `container`, and the one that Apple's tool gives it.
pub fn aliases(name: &str, container: &str) -> Vec<String> {
    vec![container.to_owned(), format!("{name}.machine")]
}

/// The user's home, at its own path, whose files are its user's on both sides. A user other than root has what their processes make on
/// the host: those files belong to the user of the machine, and whatever its root makes there does, too.
fn home(machine: &MachineSettings) -> Option<Mount> {
    let option = match machine.home_mount {
        HomeMount::None => return None,
        HomeMount::ReadOnly => "ro",
        HomeMount::ReadWrite => "rw",
    };
    let MachineUser { uid, gid, home, .. } = &machine.user_setup;
    let owners = format!("{}uids=0-{uid}-1;gids=0-{gid}-1", bind::IDMAP);
    let owners = (*uid != 0).then_some(owners.as_str());
    bind::mount(home, home, std::iter::once(option).chain(owners)).ok()
}

/// Whether `mount` is what [`home`] gives.
fn is_home(mount: &Mount, machine: &MachineSettings) -> bool {
    mount.kind == MountKind::Virtiofs {} && mount.destination == machine.user_setup.home
}

/// The name of a machine that nobody named: the image's last word and its tag.
pub fn default_name(reference: &Reference) -> String {
    let last = reference.path().rsplit('/').next().unwrap_or_default();
    let version = match reference.version() {
        Version::Tag(tag) => tag.clone(),
        Version::Digest(digest) => digest.hex().chars().take(12).collect(),
    };
    let name = format!("{last}-{version}");
    let name: String = name
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(NAME_MAX)
        .collect();
    name.trim_end_matches('-').to_owned()
}

/// Checks a machine's name: `^[a-z0-9]([a-z0-9-]*[a-z0-9])?$` (as Apple's container has it), a part of a host name, which leaves room for
/// what its container's name has more.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(text: &str) -> Result<(), String> {
    if text.len() > NAME_MAX {
        return Err(format!(
            "machine name of {} bytes is too long: at most {NAME_MAX} are allowed",
            text.len()
        ));
    }
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = |byte: Option<&u8>| byte.is_some_and(|byte| plain(*byte));
    let bytes = text.as_bytes();
    let inside = bytes.iter().all(|byte| plain(*byte) || *byte == b'-');
    if ends(bytes.first()) && ends(bytes.last()) && inside {
        Ok(())
    } else {
        Err(format!(
            "invalid machine name '{text}': it must start and end with a lower-case letter or a digit, and have nothing but those and '-' between"
        ))
    }
}

/// Checks the name of a snapshot: letters, digits, `_`, `.` and `-`, the first one a letter or digit, at most 63 bytes. It is a part of a
/// file's name.
///
/// # Errors
/// What is wrong with it.
pub fn check_snapshot_name(text: &str) -> Result<(), String> {
    let character = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let first = text.bytes().next();
    let sound = first.is_some_and(|byte| byte.is_ascii_alphanumeric());
    if sound && text.len() <= SNAPSHOT_NAME_MAX && text.bytes().all(character) {
        Ok(())
    } else {
        Err(format!(
            "invalid snapshot name '{text}': 1 to {SNAPSHOT_NAME_MAX} letters, digits, '_', '.' and '-' are expected, the first one a letter or digit"
        ))
    }
}

/// Why there is no machine that could be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MissingMachine {
    /// None has the name.
    #[error("machine not found: {0}")]
    Named(String),
    /// None is named, and none is the default.
    #[error("there is no default machine")]
    Default,
}

impl MissingMachine {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Named(_) => "`container machine list` shows those that there are.",
            Self::Default => {
                "Make one with `container machine create <image>`, or name one: see `container machine list`."
            }
        }
    }
}

/// A machine as `machine list` and `machine inspect` show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineResource {
    /// Its name.
    pub id: String,
    /// Reference of the image it was made of.
    pub image: String,
    /// Platform of that image.
    pub platform: Platform,
    /// Whose it is.
    pub user_setup: MachineUser,
    /// Where it is in its life.
    pub status: ContainerState,
    /// It is meant where no machine is named.
    pub default: bool,
    /// When it was last booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_date: Option<Timestamp>,
    /// When it was made.
    pub created_date: Timestamp,
    /// Its container.
    pub container_id: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Bytes.
    pub memory: u64,
    /// How the user's home is seen.
    pub home_mount: HomeMount,
    /// It may run virtual machines.
    pub virtualization: bool,
    /// Kernel that it boots; absent: the system's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Bytes that its disk takes on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_size: Option<u64>,
    /// Address on its network, with prefix length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
}

impl MachineResource {
    /// The machine of `container`, if it is one.
    pub fn of(container: ManagedContainer, default: Option<&str>, disk_size: u64) -> Option<Self> {
        let ManagedContainer {
            id: container_id,
            configuration,
            status,
        } = container;
        let machine = configuration.machine?;
        Some(Self {
            default: default == Some(machine.id.as_str()),
            id: machine.id,
            image: configuration.image.reference,
            platform: configuration.platform,
            user_setup: machine.user_setup,
            status: status.state,
            started_date: status.started_date,
            created_date: configuration.creation_date,
            container_id,
            cpus: configuration.resources.cpus,
            memory: configuration.resources.memory_in_bytes,
            home_mount: machine.home_mount,
            virtualization: configuration.virtualization,
            kernel: configuration.kernel,
            disk_size: Some(disk_size),
            ip_address: status
                .networks
                .into_iter()
                .next()
                .map(|attachment| attachment.ipv4_address),
        })
    }
}

/// A machine's disk as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Its name, of its machine's.
    pub id: String,
    /// When it was made.
    pub created_date: Timestamp,
    /// Bytes that it takes on the host; what it shares with the machine's disk counts for both.
    pub disk_size: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn settings(home_mount: HomeMount) -> MachineSettings {
        MachineSettings {
            attached: Attached::default(),
            id: "debian-12".into(),
            home_mount,
            user_setup: MachineUser {
                username: "ann".into(),
                uid: 1000,
                gid: 1000,
                home: "/home/ann".into(),
                shell: "/bin/bash".into(),
            },
        }
    }

    pub fn configuration(home_mount: HomeMount) -> ContainerConfiguration {
        let creation = MachineCreation {
            settings: settings(home_mount),
            suffix: "0a1b2c".into(),
            image: ImageDescription::default(),
            platform: Platform::host(),
            cpus: 2,
            memory: 1 << 30,
            virtualization: false,
            kernel: None,
        };
        let image = ImageSettings {
            env: vec!["A=b".into()],
            ..ImageSettings::default()
        };
        creation
            .configuration(&image, Timestamp::UNIX_EPOCH)
            .unwrap()
    }

    #[test]
    fn a_machine_is_a_privileged_container_of_an_init_with_its_user_s_home() {
        let made = configuration(HomeMount::ReadOnly);
        assert_eq!(made.id, "debian-12-0a1b2c");
        assert_eq!(made.hostname.as_deref(), Some("debian-12"));
        let names = &made.networks[0].options;
        assert_eq!(names.hostname, "debian-12");
        assert_eq!(names.aliases, ["debian-12-0a1b2c", "debian-12.machine"]);
        assert_eq!(made.init_process.executable, INIT);
        assert!(made.init_process.environment.contains(&"A=b".to_owned()));
        assert!(made.privileged && made.init_process.terminal);
        assert_eq!(made.labels[well_known::PLUGIN], PLUGIN);
        assert_eq!(made.mounts[0].source, "/home/ann");
        assert!(made.mounts[0].is_read_only());
        assert_eq!(
            made.mounts[0].options,
            ["ro", "idmap=uids=0-1000-1;gids=0-1000-1"]
        );
        assert_eq!(configuration(HomeMount::None).mounts, []);
    }

    #[test]
    fn names_come_from_the_image() {
        for (reference, expected) in [
            ("debian:12", "debian-12"),
            ("registry.example/team/my_image:v1.0", "my-image-v1-0"),
            ("busybox", "busybox-latest"),
            ("busybox:Next_1", "busybox-next-1"),
        ] {
            let reference = Reference::parse(reference, "docker.io").unwrap();
            let name = default_name(&reference);
            assert_eq!(name, expected);
            assert_eq!(check_name(&name), Ok(()));
        }
        let long = Reference::parse(&format!("{}:1", "a".repeat(80)), "docker.io").unwrap();
        assert_eq!(check_name(&default_name(&long)), Ok(()));
    }

    #[test]
    fn a_name_is_a_part_of_a_host_name() {
        for name in ["", "-a", "a_b", "a.b", "Dev", "a-", "../x", &"a".repeat(58)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        let said = check_name("x-").unwrap_err();
        assert!(said.contains("must start and end"), "{said}");
        for name in ["dev-box-1", "a", &"a".repeat(57)] {
            assert_eq!(check_name(name), Ok(()));
        }
    }

    #[test]
    fn a_snapshot_s_name_is_a_part_of_a_file_s() {
        for name in ["", ".x", "-x", "a/b", "../x", "bad name", &"a".repeat(64)] {
            assert!(check_snapshot_name(name).is_err(), "{name}");
        }
        for name in ["x", "before-12.5_b", &"a".repeat(63)] {
            assert_eq!(check_snapshot_name(name), Ok(()));
        }
    }
}
