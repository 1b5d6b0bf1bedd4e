//! The system's `config.toml` (reference section 3.1).
//!
//! The user's file is copied into the app root when the system starts, so that all processes agree on it until
//! it is started again; the installed prefix may hold another. For each key the first file that has it wins.

use std::io;
use std::path::{Path, PathBuf};

use container_files::Links;
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::insecure;
use crate::reference::{self, DEFAULT_DOMAIN, Reference};
use crate::size;

/// The largest file, in bytes.
pub const FILE_LIMIT: u64 = 1 << 20;

/// The keys that are understood. Others are left for other versions and plugins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Defaults of `run` and `create`.
    pub container: ContainerDefaults,
    /// Bounds of what images take.
    pub image: ImageLimits,
    /// Registries.
    pub registry: RegistrySettings,
    /// The guest's init.
    #[serde(skip_serializing_if = "is_default")]
    pub vminit: VminitSettings,
    /// What is kept free.
    pub storage: StorageSettings,
    /// The process that runs a machine.
    pub vmm: VmmSettings,
    /// The builtin network.
    #[serde(skip_serializing_if = "is_default")]
    pub network: NetworkSettings,
}

/// Whether there is nothing to write.
fn is_default<T: Default + PartialEq>(settings: &T) -> bool {
    *settings == T::default()
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

    fn over(self, below: Self) -> Self {
        Self {
            max_layer_size: self.max_layer_size.or(below.max_layer_size),
            max_unpacked_size: self.max_unpacked_size.or(below.max_unpacked_size),
            max_store_size: self.max_store_size.or(below.max_store_size),
            max_expansion: self.max_expansion.or(below.max_expansion),
        }
    }

    fn check(&self) -> Result<(), Reason> {
        for (key, text) in [
            ("image.maxLayerSize", &self.max_layer_size),
            ("image.maxUnpackedSize", &self.max_unpacked_size),
            ("image.maxStoreSize", &self.max_store_size),
        ] {
            if let Some(text) = text {
                let bytes =
                    size::parse(text).map_err(|source| Reason::ImageSize { key, source })?;
                if bytes == 0 {
                    return Err(Reason::NoSize(key));
                }
            }
        }
        match self.max_expansion {
            Some(0) => Err(Reason::Expansion),
            _ => Ok(()),
        }
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

/// `[vmm]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VmmSettings {
    /// Whether a VMM must be confined.
    pub confinement: Option<VmmConfinement>,
}

/// What becomes of a start on a host that cannot confine the VMM, having neither namespaces nor Landlock for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VmmConfinement {
    /// It is refused.
    #[default]
    Required,
    /// It is made: a guest that takes its VMM over then has what the user has.
    Optional,
}

impl RegistrySettings {
    /// Registry of references that name none, whether it was set or not.
    pub fn domain(&self) -> &str {
        self.domain.as_deref().unwrap_or(DEFAULT_DOMAIN)
    }
}

/// Why the configuration is not understood.
#[derive(Debug, thiserror::Error)]
#[error("configuration file {path}")]
pub struct SettingsError {
    /// The file.
    path: PathBuf,
    #[source]
    source: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error("{0}")]
    Parse(String),
    #[error("container.cpus must be at least 1")]
    Cpus,
    #[error("{key}")]
    ImageSize {
        key: &'static str,
        #[source]
        source: size::SizeError,
    },
    #[error("{0} must be more than 0")]
    NoSize(&'static str),
    #[error("image.maxExpansion must be at least 1")]
    Expansion,
    #[error("container.memory")]
    Memory(#[from] size::SizeError),
    #[error("storage.reserve")]
    Reserve(#[source] size::SizeError),
    #[error(
        "registry.domain is {0:?}: it must be a host name with a dot or a port, or localhost, and have no path"
    )]
    Domain(String),
    #[error(
        "registry.insecure names {0:?}: it must be a host name or an address, with or without a port, or a network such as 10.0.0.0/8"
    )]
    Insecure(String),
    #[error("vminit.image")]
    InitImage(#[from] reference::ReferenceError),
}

/// Where the copy of the user's file lies in `app_root`.
pub fn snapshot_path(app_root: &Path) -> PathBuf {
    app_root.join("config/config.toml")
}

impl Settings {
    /// The effective settings: the copy in `app_root`, then the file of `install_root`. Missing files are fine.
    ///
    /// # Errors
    /// When a file cannot be read, is no TOML, or a value has the wrong type or is out of its range.
    pub fn load(app_root: &Path, install_root: &Path) -> Result<Self, SettingsError> {
        let user = Self::read(&snapshot_path(app_root))?;
        let installed = Self::read(&install_root.join("etc/container/config.toml"))?;
        Ok(Self {
            container: ContainerDefaults {
                cpus: user.container.cpus.or(installed.container.cpus),
                memory: user.container.memory.or(installed.container.memory),
                template: user.container.template.or(installed.container.template),
                standby: user.container.standby.or(installed.container.standby),
            },
            image: user.image.over(installed.image),
            registry: RegistrySettings {
                domain: user.registry.domain.or(installed.registry.domain),
                insecure: user.registry.insecure.or(installed.registry.insecure),
            },
            vminit: VminitSettings {
                image: user.vminit.image.or(installed.vminit.image),
            },
            storage: StorageSettings {
                reserve: user.storage.reserve.or(installed.storage.reserve),
            },
            vmm: VmmSettings {
                confinement: user.vmm.confinement.or(installed.vmm.confinement),
            },
            network: NetworkSettings {
                subnet: user.network.subnet.or(installed.network.subnet),
                subnetv6: user.network.subnetv6.or(installed.network.subnetv6),
            },
        })
    }

    /// The settings of one file; the default ones when it is missing.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        Self::parse(path).map_err(|source| SettingsError {
            path: path.to_owned(),
            source,
        })
    }

    fn parse(path: &Path) -> Result<Self, Reason> {
        let text = match container_files::read_text(path, FILE_LIMIT, Links::Follow) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error.into()),
        };
        // Its text shows the place, over several lines with a newline at the end.
        let settings: Self = toml::from_str(&text).map_err(|error: toml::de::Error| {
            Reason::Parse(error.to_string().trim_end().to_owned())
        })?;
        if settings.container.cpus == Some(0) {
            return Err(Reason::Cpus);
        }
        if let Some(memory) = &settings.container.memory {
            size::parse_memory(memory)?;
        }
        if let Some(reserve) = &settings.storage.reserve {
            size::parse(reserve).map_err(Reason::Reserve)?;
        }
        settings.image.check()?;
        if let Some(image) = &settings.vminit.image {
            image.parse::<Reference>()?;
        }
        let insecure = settings.registry.insecure.iter().flatten();
        if let Some(entry) = insecure
            .into_iter()
            .find(|entry| !insecure::is_entry(entry))
        {
            return Err(Reason::Insecure(entry.clone()));
        }
        match settings.registry.domain {
            Some(domain) if !reference::is_registry(&domain) => Err(Reason::Domain(domain)),
            _ => Ok(settings),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn each_key_comes_from_the_first_file_that_has_it() {
        let scratch = tempfile::tempdir().unwrap();
        let (app, install) = (scratch.path().join("app"), scratch.path().join("install"));
        assert_eq!(Settings::load(&app, &install).unwrap(), Settings::default());
        write(
            &snapshot_path(&app),
            "[container]\ncpus = 2\ntemplate = false\n[plugin.x]\ny = 1\n[image]\nmaxLayerSize = \"1gb\"\n[vminit]\nimage = \"init\"\n",
        );
        let installed = "[image]\nmaxLayerSize = \"2gb\"\nmaxExpansion = 7\n[container]\ncpus = 8\nmemory = \"2gb\"\n[registry]\ndomain = \"localhost\"\n";
        write(&install.join("etc/container/config.toml"), installed);
        let settings = Settings::load(&app, &install).unwrap();
        assert_eq!(settings.container.cpus, Some(2));
        assert_eq!(settings.image.layer_size(), 1 << 30);
        assert_eq!(settings.image.expansion(), 7);
        assert_eq!(settings.image.unpacked_size(), 64 << 30);
        assert_eq!(settings.container.template, Some(false));
        assert_eq!(settings.container.memory.as_deref(), Some("2gb"));
        assert_eq!(settings.vminit.image.as_deref(), Some("init"));
        assert_eq!(settings.registry.domain.as_deref(), Some("localhost"));
    }

    #[test]
    fn wrong_values_are_errors_that_name_the_file() {
        let scratch = tempfile::tempdir().unwrap();
        let path = snapshot_path(scratch.path());
        for text in [
            "[container",
            "[container]\ncpus = \"2\"",
            "[container]\ncpus = 0",
            "[container]\nmemory = \"1m\"",
            "[image]\nmaxLayerSize = \"much\"",
            "[image]\nmaxUnpackedSize = \"0\"",
            "[image]\nmaxStoreSize = 7",
            "[image]\nmaxExpansion = 0",
            "[registry]\ndomain = \"registry\"",
            "[vminit]\nimage = \"not an image\"",
            "[storage]\nreserve = \"much\"",
            "[registry]\ndomain = \"https://registry.example\"",
            "[vmm]\nconfinement = \"no\"",
            "[network]\nsubnet = \"10.0.0.0/33\"",
            "[network]\nsubnetv6 = \"10.0.0.0/8\"",
            "[registry]\ninsecure = [\"http://registry.example\"]",
            "[registry]\ninsecure = [\"10.0.0.0/33\"]",
            "[registry]\ninsecure = \"registry.example\"",
        ] {
            write(&path, text);
            let error = Settings::read(&path).unwrap_err();
            assert!(error.to_string().contains("config.toml"), "{text}");
        }
    }
}
