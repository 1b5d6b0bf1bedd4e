use std::fmt::Write as _;

use clap::{Args, Subcommand, ValueEnum};
use container_buildkit::DEFAULT_IMAGE;
use container_resource::settings::{
    BuildSettings, Configuration, ContainerDefaults, ImageLimits, KEYS, MachineDefaults,
    MetricsSettings, Origin, RegistrySettings, Settings, StorageSettings, SystemSettings,
    VmmSettings,
};
use serde::Serialize;

use crate::configuration::{self, Snapshot};
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::ResourceFlags;
use crate::host;
use crate::output::{self, Format, Table};

/// Manage the configuration of the system
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(visible_alias = "ls")]
    List(List),
}

/// Show the configuration in effect, and the origin of each value
///
/// The first of these that sets a key wins: a variable such as `CONTAINER_CONFIG_CONTAINER_CPUS`; the user's config.toml as it was when the
/// system was started; etc/container/config.toml of the installed prefix; the default. Flags of a command come before all of them.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container system property list
  container system property list --format json | jq .container.cpus
  container system property list --origins --format json | jq -r '.[] | select(.origin != \"default\") | .key'")]
pub struct List {
    /// How to write the result
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: PropertyFormat,

    /// With json: a list of keys, values and origins
    #[arg(long)]
    origins: bool,
}

/// How properties are written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum PropertyFormat {
    /// For programs
    Json,
    /// As in the file, each value with its origin
    #[default]
    Toml,
    /// For people
    Table,
}

/// A key that has a value.
#[derive(Debug, Serialize)]
struct Row {
    key: &'static str,
    value: toml::Value,
    origin: String,
}

impl Command {
    pub fn execute(self, context: &Context) -> Result<(), Failure> {
        let Self::List(command) = self;
        command.execute(context)
    }
}

impl List {
    fn execute(&self, context: &Context) -> Result<(), Failure> {
        let configuration = configuration::load(&context.roots)?;
        let snapshot = Snapshot::of(&context.roots);
        if snapshot.is_old {
            output::tell(
                "Note: config.toml has changed since the system was started: that holds from its next start on",
            );
        }
        let rows = rows(&configuration, |origin| snapshot.shown(origin));
        match self.format {
            PropertyFormat::Json if self.origins => {
                output::write(Format::Json, &rows, || Table::new([]))
            }
            PropertyFormat::Json => output::write(Format::Json, &nested(&rows), || Table::new([])),
            PropertyFormat::Toml => output::print(toml_text(&rows).as_bytes()),
            PropertyFormat::Table => output::write(Format::Table, &rows, || table(&rows)),
        }
    }
}

/// Every key that has a value, with who gave it that.
fn rows(configuration: &Configuration, shown: impl Fn(&Origin) -> String) -> Vec<Row> {
    // Plain text and numbers always are TOML.
    let defaults = toml::Value::try_from(effective(&configuration.settings()))
        .unwrap_or(toml::Value::Boolean(false));
    let rows = KEYS.iter().filter_map(|key| {
        let (section, name) = key.name.split_once('.')?;
        let (value, origin) = match configuration.get(key.name) {
            Some(setting) => (setting.value.clone(), shown(&setting.origin)),
            None => (
                defaults.get(section)?.get(name)?.clone(),
                Origin::Default.to_string(),
            ),
        };
        Some(Row {
            key: key.name,
            value,
            origin,
        })
    });
    rows.collect()
}

/// As Apple's tool writes it: an object for each section.
fn nested(rows: &[Row]) -> toml::Table {
    let mut all = toml::Table::new();
    for row in rows {
        if let Some((section, name)) = row.key.split_once('.') {
            let section = all
                .entry(section)
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let toml::Value::Table(section) = section {
                section.insert(name.to_owned(), row.value.clone());
            }
        }
    }
    all
}

/// As a file could say it, with comments.
fn toml_text(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut last = "";
    for row in rows {
        let (section, name) = row.key.split_once('.').unwrap_or(("", row.key));
        if section != last {
            let separator = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{separator}[{section}]");
            last = section;
        }
        // A path may hold any byte, and a comment is one line.
        let origin = output::printable(&row.origin);
        let _ = writeln!(text, "{name} = {} # {origin}", row.value);
    }
    text
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(["KEY", "VALUE", "ORIGIN"]);
    for row in rows {
        table.row([
            row.key.to_owned(),
            row.value.to_string(),
            row.origin.clone(),
        ]);
    }
    table
}

/// The settings with the defaults where nothing is set.
fn effective(settings: &Settings) -> Settings {
    let flags = ResourceFlags::default();
    let (defaults, machine) = (&settings.container, &settings.machine);
    let build = &settings.build;
    Settings {
        build: BuildSettings {
            cpus: Some(build.cpus()),
            idle: Some(build.idle_seconds()),
            image: Some(
                build
                    .image
                    .clone()
                    .unwrap_or_else(|| DEFAULT_IMAGE.to_owned()),
            ),
            memory: Some(written(build.memory())),
        },
        container: ContainerDefaults {
            cpus: Some(flags.cpus(defaults).machine()),
            memory: Some(written(flags.memory(defaults))),
            template: Some(defaults.template.unwrap_or(true)),
            standby: Some(defaults.standby()),
        },
        image: ImageLimits {
            max_layer_size: Some(written(settings.image.layer_size())),
            max_unpacked_size: Some(written(settings.image.unpacked_size())),
            max_store_size: Some(written(settings.image.store_size())),
            max_expansion: Some(settings.image.expansion()),
        },
        registry: RegistrySettings {
            domain: Some(settings.registry.domain().to_owned()),
            insecure: Some(settings.registry.insecure.clone().unwrap_or_default()),
        },
        kernel: settings.kernel.clone(),
        machine: MachineDefaults {
            cpus: Some(machine.cpus(host::cpus())),
            memory: Some(written(machine.memory(host::memory()))),
            home_mount: Some(machine.home_mount.unwrap_or_default()),
            virtualization: Some(machine.virtualization.unwrap_or_default()),
            kernel_path: machine.kernel_path.clone(),
        },
        dns: settings.dns.clone(),
        metrics: MetricsSettings {
            enabled: Some(settings.metrics.enabled()),
        },
        vminit: settings.vminit.clone(),
        storage: StorageSettings {
            reserve: Some(written(settings.storage.reserve())),
        },
        system: SystemSettings {
            auto_start: Some(settings.system.auto_start()),
        },
        vmm: VmmSettings {
            confinement: Some(settings.vmm.confinement.unwrap_or_default()),
        },
        network: settings.network.clone(),
    }
}

/// A size as the file would have it.
fn written(bytes: u64) -> String {
    let units = [(40, "tb"), (30, "gb"), (20, "mb"), (10, "kb")];
    let whole = units
        .into_iter()
        .find(|(shift, _)| bytes.trailing_zeros() >= *shift);
    match whole {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use container_resource::size;

    use super::*;
    use crate::cli::Cli;

    /// Keys and defaults of the table in README.md's section on the configuration.
    fn documented() -> Vec<(String, String)> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
        let text = std::fs::read_to_string(path).unwrap();
        let section = text.split("## Configuration\n").nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let rows = section.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            let key = cells.next()?.trim().trim_end_matches('`');
            Some((key.to_owned(), cells.next()?.trim().to_owned()))
        });
        rows.collect()
    }

    #[test]
    fn readme_help_and_list_agree() {
        let mut settings = Settings::default();
        // What has no default is listed when it is set.
        settings.vminit.image = Some("init".into());
        settings.kernel.url = Some("kernels.tar".into());
        settings.kernel.binary_path = Some("vmlinux".into());
        settings.kernel.digest = format!("sha256:{}", "0".repeat(64)).parse().ok();
        settings.machine.kernel_path = Some("/vmlinux".into());
        settings.dns.domain = Some("test".into());
        settings.network.subnet = "10.0.0.0/24".parse().ok();
        settings.network.subnetv6 = "fd00::/64".parse().ok();
        let listed = toml::Value::try_from(effective(&settings)).unwrap();
        let documented = documented();
        let mut keys = Vec::new();
        for (section, values) in listed.as_table().unwrap() {
            for (key, value) in values.as_table().unwrap() {
                let key = format!("{section}.{key}");
                let row = documented.iter().find(|(documented, _)| *documented == key);
                let (_, default) = row.unwrap_or_else(|| panic!("README lacks {key}"));
                // Others are said in words.
                if let Some(default) = default.strip_prefix('`').and_then(|d| d.strip_suffix('`')) {
                    assert_eq!(value.to_string(), default, "{key}");
                }
                keys.push(key);
            }
        }
        for (key, _) in &documented {
            assert!(keys.contains(key), "{key} is documented and not listed");
        }
        let memory = listed["container"]["memory"].as_str().unwrap();
        assert_eq!(size::parse(memory), Ok(1 << 30));
        let mut root = Cli::command();
        let run = root.find_subcommand_mut("run").unwrap();
        let help = run.render_long_help().to_string();
        assert!(help.contains("(default: 1G)"), "{help}");
    }

    #[test]
    fn nothing_is_listed_that_says_nothing() {
        let value = serde_json::to_value(effective(&Settings::default())).unwrap();
        for (section, values) in value.as_object().unwrap() {
            let values = values.as_object().unwrap();
            assert!(!values.is_empty(), "{section}");
            assert!(values.values().all(|value| !value.is_null()), "{section}");
        }
        assert_eq!(written(1536 << 20), "1536mb");
    }

    #[test]
    fn each_value_is_shown_with_where_it_comes_from() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("c.toml");
        std::fs::write(
            &file,
            "[registry]\ninsecure = [\"a.example\"]\n[build]\ncpus = 3\n",
        )
        .unwrap();
        let configuration = Configuration::of(&[&file]).unwrap();
        let rows = rows(&configuration, |origin| {
            origin.to_string().replace("c.toml", "c\n.toml")
        });
        let text = toml_text(&rows);
        let file = file.display().to_string().replace("c.toml", "c\\n.toml");
        assert!(
            text.starts_with(&format!("[build]\ncpus = 3 # {file}:4\n")),
            "{text}"
        );
        assert!(
            text.contains(&format!("insecure = [\"a.example\"] # {file}:2\n")),
            "{text}"
        );
        assert!(
            text.contains("\n[storage]\nreserve = \"512mb\" # default\n"),
            "{text}"
        );
        // What is shown is a configuration that means the same.
        let read: toml::Table = text.parse().unwrap();
        assert_eq!(read, nested(&rows));
        let rendered = table(&rows).render();
        assert!(rendered.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words == ["vmm.confinement", "\"required\"", "default"]
        }));
    }

    #[test]
    fn what_is_set_stands_above_the_defaults() {
        let mut settings = Settings::default();
        let all = effective(&settings);
        assert_eq!(all.container.memory.as_deref(), Some("1gb"));
        assert_eq!(all.registry.domain.as_deref(), Some("docker.io"));
        assert_eq!(all.image.max_layer_size.as_deref(), Some("16gb"));
        assert_eq!(all.image.max_store_size.as_deref(), Some("1tb"));
        assert_eq!(all.image.max_expansion, Some(200));
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
