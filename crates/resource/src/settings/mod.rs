//! The system's `config.toml` (as Apple's container has it).
//!
//! For each key the strongest layer that has it wins: the environment, the user's file, the system's file, the default.
//! The user's file is copied into the app root when the system starts, so that all processes agree on it until it is
//! started again.

mod key;
mod kind;
mod layers;
mod problem;
mod source;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

pub use key::{KEYS, Key};
pub use layers::{Configuration, Setting};
pub use problem::{Problem, SettingsError};
pub use source::{FILE_LIMIT, Origin};

use crate::digest::Digest;
use crate::machine::HomeMount;
use crate::reference::DEFAULT_DOMAIN;
use crate::size;

/// What the programs of this release look at. [`KEYS`] has further keys, for other releases and plugins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Builders.
    #[serde(skip_serializing_if = "is_default")]
    pub build: BuildSettings,
    /// Defaults of `run` and `create`.
    pub container: ContainerDefaults,
    /// Bounds of what images take.
    pub image: ImageLimits,
    /// The kernel that is recommended.
    #[serde(skip_serializing_if = "is_default")]
    pub kernel: KernelSettings,
    /// Defaults of `machine create`.
    pub machine: MachineDefaults,
    /// Figures for Prometheus.
    pub metrics: MetricsSettings,
    /// Registries.
    pub registry: RegistrySettings,
    /// The guest's init.
    #[serde(skip_serializing_if = "is_default")]
    pub vminit: VminitSettings,
    /// What is kept free.
    pub storage: StorageSettings,
    /// The services.
    pub system: SystemSettings,
    /// The process that runs a machine.
    pub vmm: VmmSettings,
    /// What is in containers' `resolv.conf`.
    #[serde(skip_serializing_if = "is_default")]
    pub dns: DnsSettings,
    /// The builtin network.
    #[serde(skip_serializing_if = "is_default")]
    pub network: NetworkSettings,
}

/// Whether there is nothing to write.
fn is_default<T: Default + PartialEq>(settings: &T) -> bool {
    *settings == T::default()
}

/// `[build]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildSettings {
    /// Virtual CPUs of a builder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Seconds without a build after which a builder is stopped; 0: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<u32>,
    /// Image of a builder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// A size such as `2gb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
}

impl BuildSettings {
    /// Virtual CPUs, whether they were set or not.
    pub fn cpus(&self) -> u32 {
        self.cpus.unwrap_or(2)
    }

    /// Bytes of memory, whether they were set or not.
    pub fn memory(&self) -> u64 {
        let set = self.memory.as_deref();
        set.and_then(|text| size::parse_memory(text).ok())
            .unwrap_or(2 << 30)
    }

    /// How long a builder runs without being used; `None`: for ever.
    pub fn idle(&self) -> Option<Duration> {
        let seconds = u64::from(self.idle_seconds());
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    /// The same in seconds, 0 for ever.
    pub fn idle_seconds(&self) -> u32 {
        self.idle.unwrap_or(600)
    }
}

/// `[container]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerDefaults {
    /// Virtual CPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// A size such as `1gb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Whether starts are made from saved machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<bool>,
    /// Whether a machine waits for the next container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standby: Option<bool>,
}

impl ContainerDefaults {
    /// Whether a machine waits for the next container, which it does unless it or its template is not wanted.
    pub fn standby(&self) -> bool {
        self.standby.unwrap_or(true) && self.template.unwrap_or(true)
    }
}

/// `[image]`: how much images may unpack to. Sizes as `16gb`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ImageLimits {
    /// One layer.
    pub max_layer_size: Option<String>,
    /// All layers of one image.
    pub max_unpacked_size: Option<String>,
    /// All layers there are, on the disk.
    pub max_store_size: Option<String>,
    /// One layer, as a multiple of its compressed size; small ones have more.
    pub max_expansion: Option<u32>,
}

impl ImageLimits {
    /// Bytes of one layer, whether that was set or not.
    pub fn layer_size(&self) -> u64 {
        size_or(self.max_layer_size.as_deref(), 16 << 30)
    }

    /// Bytes of all layers of one image, whether that was set or not.
    pub fn unpacked_size(&self) -> u64 {
        size_or(self.max_unpacked_size.as_deref(), 64 << 30)
    }

    /// Bytes on the disk of all layers, whether that was set or not.
    pub fn store_size(&self) -> u64 {
        size_or(self.max_store_size.as_deref(), 1 << 40)
    }

    /// A layer's bytes by each compressed one, whether that was set or not.
    pub fn expansion(&self) -> u32 {
        self.max_expansion.unwrap_or(200)
    }
}

/// What was set was checked when the file was read.
fn size_or(text: Option<&str>, default: u64) -> u64 {
    text.and_then(|text| size::parse(text).ok())
        .unwrap_or(default)
}

/// `[registry]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegistrySettings {
    /// Registry of references that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Registries that may be spoken to without encryption: hosts, with or without a port, and networks such as
    /// `10.0.0.0/8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<Vec<String>>,
}

/// `[kernel]`: what `system kernel set --recommended` takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct KernelSettings {
    /// An archive: a file, or an http or https address; absent: the packaged kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary_path: Option<String>,
    /// What the archive's digest has to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// `[machine]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MachineDefaults {
    /// Virtual CPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// A size such as `8gb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// How the user's home is seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home_mount: Option<HomeMount>,
    /// Whether it may run virtual machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtualization: Option<bool>,
    /// Kernel to boot: an absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_path: Option<PathBuf>,
}

/// Virtual CPUs of a machine, at least, where the host has as many.
const LEAST_CPUS: u32 = 4;
/// Bytes of memory of a machine, at least.
const LEAST_MEMORY: u64 = 1 << 30;

impl MachineDefaults {
    /// Virtual CPUs, whether that was set or not, on a host of `host` CPUs: half of them, but 4 if it has them.
    pub fn cpus(&self, host: u32) -> u32 {
        self.cpus
            .unwrap_or_else(|| (host / 2).max(host.min(LEAST_CPUS)))
    }

    /// Bytes, whether that was set or not, on a host of `host` bytes: half of them in whole MiB, and at least 1 GiB.
    pub fn memory(&self, host: u64) -> u64 {
        let set = self.memory.as_deref();
        set.and_then(|text| size::parse_memory(text).ok())
            .unwrap_or_else(|| (host / 2).max(LEAST_MEMORY) & !(size::MIB - 1))
    }
}

/// `[metrics]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetricsSettings {
    /// Whether `metrics.sock` serves metrics.
    pub enabled: Option<bool>,
}

impl MetricsSettings {
    /// Whether figures are given, which they are only when that is wanted.
    pub fn enabled(&self) -> bool {
        self.enabled.unwrap_or(false)
    }
}

/// `[vminit]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VminitSettings {
    /// Init image of containers that name none; absent: the installation's initramfs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// `[storage]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageSettings {
    /// A size such as `512mb`.
    pub reserve: Option<String>,
}

/// Bytes that are kept free on the file system of the app root unless said otherwise.
const DEFAULT_RESERVE: u64 = 512 << 20;

impl StorageSettings {
    /// Bytes that are kept free on the file system of the app root: with less, nothing is created or started.
    pub fn reserve(&self) -> u64 {
        // What does not parse was refused when the file was read.
        let set = self.reserve.as_deref();
        set.and_then(|text| size::parse(text).ok())
            .unwrap_or(DEFAULT_RESERVE)
    }
}

/// `[dns]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DnsSettings {
    /// The domain of containers that are given none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

/// `[network]`: addresses of the builtin network, which a container is on unless it asks for another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSettings {
    /// IPv4; absent: what is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<Ipv4Net>,
    /// IPv6; absent: what is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnetv6: Option<Ipv6Net>,
}

/// `[system]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SystemSettings {
    /// Whether the first command that needs the services starts them.
    pub auto_start: Option<bool>,
}

impl SystemSettings {
    /// Whether the first command that needs the services starts them, which it does only when that is wanted.
    pub fn auto_start(&self) -> bool {
        self.auto_start.unwrap_or(false)
    }
}

/// `[vmm]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VmmSettings {
    /// Whether a VMM must be confined.
    pub confinement: Option<VmmConfinement>,
}

/// Whether containers start on a host that cannot confine the VMM, because it has neither namespaces nor Landlock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VmmConfinement {
    /// It is refused.
    #[default]
    Required,
    /// They start: a guest that takes over its VMM then has all rights of the user.
    Optional,
}

impl RegistrySettings {
    /// Registry of references that name none, whether it was set or not.
    pub fn domain(&self) -> &str {
        self.domain.as_deref().unwrap_or(DEFAULT_DOMAIN)
    }
}

/// Where the copy of the user's file lies in `app_root`.
pub fn snapshot_path(app_root: &Path) -> PathBuf {
    app_root.join("config/config.toml")
}

/// The file for all users of the installation in `install_root`: `etc/container/config.toml`. What is installed in
/// `/usr` has it in `/etc` (Filesystem Hierarchy Standard 3.0, section 4.5).
pub fn system_path(install_root: &Path) -> PathBuf {
    let above = if install_root == Path::new("/usr") {
        Path::new("/")
    } else {
        install_root
    };
    above.join("etc/container/config.toml")
}

impl Settings {
    /// What holds for the system in `app_root`: see [`Configuration::load`].
    ///
    /// # Errors
    /// When a file cannot be read, is no TOML, or a value has the wrong type or is out of its range.
    pub fn load(app_root: &Path, install_root: &Path) -> Result<Self, SettingsError> {
        Ok(Configuration::load(app_root, install_root)?.settings())
    }
}
