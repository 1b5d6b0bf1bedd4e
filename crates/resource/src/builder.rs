//! Builders: containers that build images. A builder is a container with a role, a volume for its cache, and sockets on the host.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::connectivity::Connectivity;
use crate::container::{ContainerConfiguration, ImageDescription, ManagedContainer, PublishSocket};
use crate::cpus::Cpus;
use crate::creation::{Creation, CreationError, DEFAULT_RUNTIME};
use crate::health::HealthOptions;
use crate::image_settings::ImageSettings;
use crate::label::well_known;
use crate::name;
use crate::platform::Platform;
use crate::process::ProcessOptions;
use crate::volume;

/// The value of the label [`well_known::ROLE`] of a builder.
pub const ROLE: &str = "builder";
/// The builder that is meant where none is named, as Apple's tool calls it.
pub const DEFAULT: &str = "buildkit";
/// Where an image that declares no volume has its cache: BuildKit's own place.
const CACHE: &str = "/var/lib/buildkit";
/// The longest name, in bytes: it is a part of others, and of a socket's path.
const NAME_MAX: usize = 40;

/// A builder that is to be made.
#[derive(Clone, Debug)]
pub struct BuilderCreation {
    /// Its name: see [`check_name`].
    pub name: String,
    /// The image, resolved.
    pub image: ImageDescription,
    /// Which of the image's platforms.
    pub platform: Platform,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Bytes.
    pub memory: u64,
    /// Its network, and who it asks for names.
    pub connectivity: Connectivity,
    /// Where it is reached.
    pub sockets: Vec<PublishSocket>,
}

impl BuilderCreation {
    /// The configuration of its container. The cache is a volume where the image wants its first one.
    ///
    /// # Errors
    /// When the image cannot be run.
    pub fn configuration(
        self,
        image: &ImageSettings,
        now: Timestamp,
    ) -> Result<ContainerConfiguration, CreationError> {
        let place = image.volumes.first().map_or(CACHE, String::as_str);
        let cache = volume::mount(&cache(&self.name), place, Vec::new());
        let creation = Creation {
            mounts: cache.into_iter().collect(),
            labels: BTreeMap::from([(well_known::ROLE.to_owned(), ROLE.to_owned())]),
            hostname: Some(self.name.clone()),
            id: self.name,
            image: self.image,
            platform: self.platform,
            cpus: Cpus::whole(self.cpus),
            memory: self.memory,
            connectivity: self.connectivity,
            published_sockets: self.sockets,
            // Steps are containers inside of it, and the machine is what isolates it.
            privileged: true,
            runtime: DEFAULT_RUNTIME.to_owned(),
            entrypoint: None,
            arguments: Vec::new(),
            process: ProcessOptions {
                privileged: true,
                ..ProcessOptions::default()
            },
            storage: None,
            journal: None,
            sysctls: BTreeMap::new(),
            virtualization: false,
            read_only: false,
            use_init: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            shm_size: None,
            stop_signal: None,
            stop_timeout: None,
            masked_paths: Vec::new(),
            read_only_paths: Vec::new(),
            pids_limit: None,
            devices: Vec::new(),
            no_new_privileges: false,
            seccomp_profile: None,
            kernel_arguments: Vec::new(),
            kernel: None,
            init_image: None,
            restart: None,
            health: HealthOptions::default(),
            ssh: false,
        };
        creation.configuration(image, now)
    }
}

/// The volume with the cache of the builder `name`.
pub fn cache(name: &str) -> String {
    format!("{name}-cache")
}

/// Whether `container` is a builder.
pub fn is_builder(container: &ManagedContainer) -> bool {
    is_builder_by(&container.configuration)
}

/// The same of a configuration.
pub fn is_builder_by(configuration: &ContainerConfiguration) -> bool {
    let role = configuration.labels.get(well_known::ROLE);
    role.is_some_and(|role| role == ROLE)
}

/// Checks a builder's name: a container's, and not too long.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(text: &str) -> Result<String, String> {
    name::validate(text).map_err(|error| error.to_string())?;
    if text.len() > NAME_MAX {
        return Err(format!(
            "builder name of {} bytes is too long: at most {NAME_MAX} are allowed",
            text.len()
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_the_image_wants_its_first_volume() {
        let creation = BuilderCreation {
            name: "fast".to_owned(),
            image: ImageDescription::default(),
            platform: Platform::host(),
            cpus: 3,
            memory: 1 << 31,
            connectivity: Connectivity::default(),
            sockets: Vec::new(),
        };
        let mut image = ImageSettings {
            entrypoint: vec!["buildkitd".to_owned()],
            ..ImageSettings::default()
        };
        let made = creation.clone().configuration(&image, Timestamp::now());
        let made = made.unwrap();
        assert_eq!(made.mounts[0].volume(), Some("fast-cache"));
        assert_eq!(made.mounts[0].destination, "/var/lib/buildkit");
        assert!(made.privileged && is_builder_by(&made));
        assert_eq!(made.resources.cpus, 3);
        image.volumes = vec!["/var/lib/docker".to_owned()];
        let made = creation.configuration(&image, Timestamp::now()).unwrap();
        assert_eq!(made.mounts.len(), 1);
        assert_eq!(made.mounts[0].destination, "/var/lib/docker");
    }

    #[test]
    fn names() {
        assert!(check_name("buildkit").is_ok());
        assert!(check_name("-x").is_err());
        assert!(check_name(&"x".repeat(41)).is_err());
    }
}
