use clap::{Args, Subcommand, ValueEnum};
use container_resource::settings::{ContainerDefaults, RegistrySettings, Settings};
use container_resource::size::MIB;

use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::ResourceFlags;
use crate::output::{self, Format, Table};

/// Manage the configuration of the system
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(visible_alias = "ls")]
    List(List),
}

/// Show the configuration as it holds
///
/// That is `config.toml` of when the system was started, over that of the installed prefix, over the defaults.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container system property list
  container system property list --format json")]
pub struct List {
    /// How to write the result
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: PropertyFormat,
}

/// How properties are written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum PropertyFormat {
    /// For programs.
    Json,
    /// As in the file.
    #[default]
    Toml,
}

impl Command {
    pub fn execute(self, context: &Context) -> Result<(), Failure> {
        let Self::List(command) = self;
        command.execute(context)
    }
}

impl List {
    fn execute(&self, context: &Context) -> Result<(), Failure> {
        let roots = &context.roots;
        let settings = Settings::load(&roots.app, &roots.install).map_err(anyhow::Error::new)?;
        let format = match self.format {
            PropertyFormat::Json => Format::Json,
            PropertyFormat::Toml => Format::Toml,
        };
        output::write(format, &effective(&settings), || Table::new([]))
    }
}

/// The settings with the defaults where nothing is set.
fn effective(settings: &Settings) -> Settings {
    let flags = ResourceFlags::default();
    let defaults = &settings.container;
    Settings {
        container: ContainerDefaults {
            cpus: Some(flags.cpus(defaults)),
            memory: Some(format!("{}mb", flags.memory(defaults) / MIB)),
            template: Some(defaults.template.unwrap_or(true)),
            standby: Some(defaults.standby()),
        },
        registry: RegistrySettings {
            domain: Some(settings.registry.domain().to_owned()),
        },
        vminit: settings.vminit.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_stands_above_the_defaults() {
        let mut settings = Settings::default();
        let all = effective(&settings);
        assert_eq!(all.container.memory.as_deref(), Some("1024mb"));
        assert_eq!(all.registry.domain.as_deref(), Some("docker.io"));
        assert_eq!(all.vminit.image, None);
        settings.vminit.image = Some("init".into());
        settings.container.cpus = Some(7);
        settings.registry.domain = Some("localhost:5000".into());
        let all = effective(&settings);
        assert_eq!(all.container.cpus, Some(7));
        assert_eq!(all.vminit, settings.vminit);
        assert_eq!(all.registry.domain.as_deref(), Some("localhost:5000"));
    }
}
