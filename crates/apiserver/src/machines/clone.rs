//! A further machine with the disk of another one.

use container_api::{Error, Kind};
use container_resource::container::ContainerConfiguration;
use container_resource::machine::{self, check_name};
use jiff::Timestamp;

use super::Machines;
use super::disk::Staged;
use super::snapshot::told;
use crate::containers::kind;

impl Machines {
    /// Makes the machine `name` with all that the machine `id` has: `suffix` is for its container's name. One that runs stands
    /// still while its disk is copied.
    ///
    /// # Errors
    /// When the name is invalid or taken, or the disk is full.
    pub async fn clone_machine(&self, id: &str, name: String, suffix: &str) -> Result<(), Error> {
        check_name(&name).map_err(|text| Error::new(Kind::InvalidArgument, text))?;
        let original = self.name(id)?;
        let _change = self.change.lock().await;
        self.check_free(&name)?;
        let entry = self.find(&original)?;
        let mut configuration = entry.planned().configuration;
        rename(&mut configuration, &name, suffix);
        let container = configuration.id.clone();
        let context = format!("copy the disk of machine {original} for {name}");
        let copied = self.copy_disk(&entry).await;
        let staged = copied.map_err(|error| told(error, &original, &context))?;
        Box::pin(self.containers.begin(configuration)).await?;
        let furnished = self.furnish(&container, staged);
        if furnished.is_err() {
            self.discard(&container).await;
        }
        furnished.map_err(|error| error.context(format_args!("give machine {name} its disk")))
    }

    /// Gives the unfinished container `id` its disk, unless it is to have that of its image, and makes it a machine.
    fn furnish(&self, id: &str, staged: Option<Staged>) -> Result<(), Error> {
        let copy = self.containers.get(id)?;
        if let Some(staged) = staged {
            staged
                .replace(&copy.bundle.upper())
                .map_err(|error| Error::caused(kind(&error), error))?;
        }
        self.containers.finish(id)
    }
}

/// Gives the configuration another machine's names.
fn rename(configuration: &mut ContainerConfiguration, name: &str, suffix: &str) {
    configuration.id = format!("{name}-{suffix}");
    configuration.hostname = Some(name.to_owned());
    configuration.creation_date = Timestamp::now();
    for network in &mut configuration.networks {
        name.clone_into(&mut network.options.hostname);
        network.options.aliases = machine::aliases(name, &configuration.id);
        // Two machines cannot have these.
        network.options.ipv4_address = None;
        network.options.ipv6_address = None;
        network.options.mac_address = None;
    }
    if let Some(machine) = &mut configuration.machine {
        name.clone_into(&mut machine.id);
    }
}

#[cfg(test)]
mod tests {
    use container_resource::attachment;
    use container_resource::machine::{Attached, HomeMount, MachineSettings, MachineUser};

    use super::*;

    #[test]
    fn another_machine_has_other_names_and_addresses() {
        let mut network = attachment::plain("default");
        network.options.ipv4_address = Some([10, 0, 0, 2].into());
        let mut configuration = ContainerConfiguration {
            networks: vec![network],
            machine: Some(MachineSettings {
                id: "one".into(),
                home_mount: HomeMount::None,
                user_setup: MachineUser::default(),
                attached: Attached::default(),
            }),
            ..ContainerConfiguration::default()
        };
        rename(&mut configuration, "two", "abcdef");
        assert_eq!(configuration.id, "two-abcdef");
        assert_eq!(configuration.machine.unwrap().id, "two");
        let options = &configuration.networks[0].options;
        assert_eq!(
            (options.hostname.as_str(), options.ipv4_address),
            ("two", None)
        );
        assert_eq!(options.aliases, ["two-abcdef", "two.machine"]);
    }
}
