//! A further machine with the disk of another one.

use container_api::{Error, Kind};
use container_resource::bundle::Bundle;
use container_resource::container::{ContainerConfiguration, CreateOptions};
use container_resource::machine::check_name;
use jiff::Timestamp;

use super::{Machines, snapshot};
use crate::disk_usage;

impl Machines {
    /// Makes the machine `name` with all that the machine `id`, which does not run, has: `suffix` is for its container's name.
    ///
    /// # Errors
    /// When the name is none or is taken, the first machine runs, or the disk is full.
    pub async fn clone_machine(&self, id: &str, name: String, suffix: &str) -> Result<(), Error> {
        check_name(&name).map_err(|text| Error::new(Kind::InvalidArgument, text))?;
        let original = self.name(id)?;
        let _change = self.change.lock().await;
        self.check_free(&name)?;
        let entry = self.find(&original)?;
        let mut configuration = entry.planned().configuration;
        rename(&mut configuration, &name, suffix);
        let container = configuration.id.clone();
        let size = disk_usage::of_file(&entry.bundle.upper());
        self.containers.reserve.check_for(size)?;
        // Before there is a machine that could be booted without it.
        let work = |bundle: &Bundle| match bundle.upper() {
            upper if upper.exists() => snapshot::stage(bundle, &upper).map(Some),
            // It was never booted: its disk is that of its image.
            _ => Ok(None),
        };
        let staged = self.containers.with_bundle(&entry.id, work).await;
        let staged = staged.map_err(|error| {
            snapshot::told(error, &original, &format!("copy the disk for {name}"))
        })?;
        let options = CreateOptions::default();
        Box::pin(self.containers.create(configuration, options)).await?;
        let Some(staged) = staged else {
            return Ok(());
        };
        let copy = self.containers.get(&container)?;
        let operation = copy.operation.lock().await;
        if let Err(error) = std::fs::rename(staged, copy.bundle.upper()) {
            drop(operation);
            if let Err(left) = self.containers.delete(&container, true, true).await {
                tracing::warn!("what was made of machine {name} is left: {left}");
            }
            let context = format!("give machine {name} its disk");
            return Err(Error::chain(Kind::Internal, &error).context(context));
        }
        Ok(())
    }
}

/// Gives the configuration another machine's names.
fn rename(configuration: &mut ContainerConfiguration, name: &str, suffix: &str) {
    configuration.id = format!("{name}-{suffix}");
    configuration.hostname = Some(name.to_owned());
    configuration.creation_date = Timestamp::now();
    for network in &mut configuration.networks {
        name.clone_into(&mut network.options.hostname);
        network.options.aliases = vec![configuration.id.clone()];
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
    use container_resource::machine::{HomeMount, MachineSettings, MachineUser};

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
    }
}
