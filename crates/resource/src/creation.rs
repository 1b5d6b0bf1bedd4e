//! From flags and an image to a [`ContainerConfiguration`].

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::connectivity::{Connectivity, ConnectivityError};
use crate::container::{
    ContainerConfiguration, DEFAULT_STORAGE, Device, ImageDescription, Mount, ProcessConfiguration,
    PublishSocket, Resources, RestartPolicy,
};
use crate::cpus::Cpus;
use crate::health::HealthOptions;
use crate::hidden_path;
use crate::image_settings::ImageSettings;
use crate::journal::{Journal, JournalError};
use crate::name::{self, NameError};
use crate::platform::Platform;
use crate::process::{self, ProcessError, ProcessOptions};
use crate::signal::{self, SignalError};
use crate::volume;

/// The runtime plugin of containers that ask for no other.
pub const DEFAULT_RUNTIME: &str = "container-runtime-linux";

/// What the flags of `run` and `create` say.
#[derive(Clone, Debug)]
pub struct Creation {
    /// Name of the container.
    pub id: String,
    /// The image, resolved.
    pub image: ImageDescription,
    /// Which of the image's platforms.
    pub platform: Platform,
    /// Replaces the image's entrypoint.
    pub entrypoint: Option<String>,
    /// Replace the image's command.
    pub arguments: Vec<String>,
    /// Process flags.
    pub process: ProcessOptions,
    /// CPUs that it may use.
    pub cpus: Cpus,
    /// Bytes.
    pub memory: u64,
    /// Bytes of the writable layer.
    pub storage: Option<u64>,
    /// Journal of the writable layer.
    pub journal: Option<Journal>,
    /// What is mounted into it.
    pub mounts: Vec<Mount>,
    /// Over the image's.
    pub labels: BTreeMap<String, String>,
    /// Kernel parameters of the guest.
    pub sysctls: BTreeMap<String, String>,
    /// The guest may run virtual machines.
    pub virtualization: bool,
    /// The root is read-only.
    pub read_only: bool,
    /// A small init is the first process.
    pub use_init: bool,
    /// Plugin that runs it.
    pub runtime: String,
    /// `CAP_X` or `ALL`.
    pub cap_add: Vec<String>,
    /// `CAP_X` or `ALL`.
    pub cap_drop: Vec<String>,
    /// Bytes of `/dev/shm`.
    pub shm_size: Option<u64>,
    /// Over the image's.
    pub stop_signal: Option<String>,
    /// Seconds.
    pub stop_timeout: Option<u32>,
    /// As given, see [`hidden_path::resolve`].
    pub masked_paths: Vec<String>,
    /// As given, see [`hidden_path::resolve`].
    pub read_only_paths: Vec<String>,
    /// UTS host name.
    pub hostname: Option<String>,
    /// The most processes.
    pub pids_limit: Option<u64>,
    /// Every capability, every device, nothing masked.
    pub privileged: bool,
    /// Devices of the guest.
    pub devices: Vec<Device>,
    /// No gain of privileges by executing a file.
    pub no_new_privileges: bool,
    /// Docker's format.
    pub seccomp_profile: Option<serde_json::Value>,
    /// Words for the guest kernel's command line.
    pub kernel_arguments: Vec<String>,
    /// Kernel to boot.
    pub kernel: Option<String>,
    /// The guest's own image, resolved.
    pub init_image: Option<ImageDescription>,
    /// When it is started again by itself.
    pub restart: Option<RestartPolicy>,
    /// Over the image's.
    pub health: HealthOptions,
    /// Its networks, and what leads in and out.
    pub connectivity: Connectivity,
    /// Sockets of the host that lead into it.
    pub published_sockets: Vec<PublishSocket>,
    /// The client's SSH agent is forwarded.
    pub ssh: bool,
}

/// Why no container can be made of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreationError {
    /// The name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The first process.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Stop signal of the image.
    #[error("the image's stop signal")]
    StopSignal(#[source] SignalError),
    /// Its networks and ports.
    #[error(transparent)]
    Connectivity(#[from] ConnectivityError),
    /// Its writable layer.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Creation {
    /// The container's configuration, with what the image says where the flags say nothing.
    ///
    /// # Errors
    /// See [`CreationError`].
    pub fn configuration(
        self,
        image: &ImageSettings,
        now: Timestamp,
    ) -> Result<ContainerConfiguration, CreationError> {
        name::validate(&self.id)?;
        if let Some(journal) = &self.journal {
            journal.check_fit(self.storage.unwrap_or(DEFAULT_STORAGE))?;
        }
        let init_process = self.first_process(image)?;
        let stop_signal = match self.stop_signal {
            Some(given) => Some(given),
            None if image.stop_signal.is_empty() => None,
            None => {
                signal::parse(&image.stop_signal).map_err(CreationError::StopSignal)?;
                Some(image.stop_signal.clone())
            }
        };
        let mut labels = image.labels.clone();
        labels.extend(self.labels);
        let hidden = |given: &[String], defaults: &[&str]| {
            // A privileged container does not see the paths that the user hides either.
            hidden_path::resolve(given, if self.privileged { &[] } else { defaults })
        };
        let published_ports = self.connectivity.published(&image.exposed_ports)?;
        let networks = self.connectivity.networks(&self.id);
        let host_network = self.connectivity.is_host();
        let Connectivity { dns, hosts, .. } = self.connectivity;
        Ok(ContainerConfiguration {
            id: self.id,
            image: self.image,
            mounts: with_volumes(self.mounts, &image.volumes),
            published_ports,
            published_sockets: self.published_sockets,
            labels,
            sysctls: self.sysctls,
            networks,
            host_network,
            dns,
            hosts,
            rosetta: false,
            virtualization: self.virtualization,
            ssh: self.ssh,
            read_only: self.read_only,
            use_init: self.use_init,
            init_process,
            platform: self.platform,
            resources: Resources {
                cpus: self.cpus.machine(),
                nano_cpus: self.cpus.fraction(),
                memory_in_bytes: self.memory,
                storage: self.storage,
                journal: self.journal,
                cpu_overhead: 0,
            },
            runtime_handler: self.runtime,
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            shm_size: self.shm_size,
            stop_signal,
            masked_paths: hidden(&self.masked_paths, &hidden_path::MASKED),
            readonly_paths: hidden(&self.read_only_paths, &hidden_path::READ_ONLY),
            creation_date: now,
            stop_timeout: self.stop_timeout,
            hostname: self.hostname,
            pids_limit: self.pids_limit,
            privileged: self.privileged,
            devices: self.devices,
            no_new_privileges: self.no_new_privileges,
            seccomp_profile: self.seccomp_profile,
            restart_policy: self.restart,
            health_check: self.health.check(image.healthcheck.as_ref(), &image.shell),
            kernel_arguments: self.kernel_arguments,
            kernel: self.kernel,
            init_image: self.init_image,
            machine: None,
        })
    }

    fn first_process(&self, image: &ImageSettings) -> Result<ProcessConfiguration, ProcessError> {
        process::first(
            image,
            &self.process,
            self.entrypoint.as_deref(),
            &self.arguments,
        )
    }
}

/// `mounts`, and a new volume at each of the image's `places` where nothing is mounted. A place where nothing can be is left out, as
/// an image is nobody's to mend.
fn with_volumes(mut mounts: Vec<Mount>, places: &[String]) -> Vec<Mount> {
    for place in places {
        if let Ok(mount) = volume::mount("", place, Vec::new()) {
            let mut taken = mounts.iter().map(|other| &other.destination);
            if !taken.any(|taken| *taken == mount.destination) {
                mounts.push(mount);
            }
        }
    }
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_s_volumes_are_new_ones_unless_something_is_mounted_there() {
        let given = vec![volume::mount("v", "/data/", Vec::new()).unwrap()];
        let places = [
            "/data",
            "//var/lib/x",
            "/var/lib/x/.",
            "relative",
            "/",
            "/proc",
        ]
        .map(str::to_owned);
        let mounts = with_volumes(given, &places);
        let shown: Vec<_> = mounts
            .iter()
            .map(|mount| (mount.volume(), mount.destination.as_str()))
            .collect();
        assert_eq!(shown, [(Some("v"), "/data"), (Some(""), "/var/lib/x")]);
    }
}
