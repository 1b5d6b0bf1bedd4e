//! From a machine's settings and its image to its container's configuration.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{GRACE, INIT, MachineSettings, PLUGIN, home};
use crate::connectivity::Connectivity;
use crate::container::{
    ContainerConfiguration, ImageDescription, ProcessConfiguration, Resources, RestartPolicy,
};
use crate::creation::DEFAULT_RUNTIME;
use crate::environment;
use crate::image_settings::ImageSettings;
use crate::label::well_known;
use crate::name::{self, NameError};
use crate::platform::Platform;
use crate::process::default_path;

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

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Attached, HomeMount, MachineUser};
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
}
