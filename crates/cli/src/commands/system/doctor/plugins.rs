//! The findings of plugins: of the one that starts machines, and of the one that makes networks.

use std::path::Path;
use std::process::Command;

use container_api::Chain;
use container_api::plugin::{self, Plugin};
use container_api::roots::Roots;
use container_resource::check::Check;
use container_resource::creation::DEFAULT_RUNTIME;
use container_resource::network::DEFAULT_PLUGIN;

/// Asks the plugin that starts machines.
pub fn runtime(roots: &Roots) -> Vec<Check> {
    let program = roots.plugin(DEFAULT_RUNTIME);
    let mut command = Command::new(&program);
    command.arg("probe").arg("--cache").arg(roots.cache());
    ask("runtime", &program, command)
}

/// Asks the plugin that makes networks.
pub fn network(roots: &Roots) -> Vec<Check> {
    let program = roots.plugin(DEFAULT_PLUGIN);
    let mut command = Command::new(&program);
    command.arg("probe");
    ask("network", &program, command)
}

/// Looks at the plugins of others: what each is, or why it is none.
pub fn others(roots: &Roots) -> Vec<Check> {
    let check = |plugin: Plugin| {
        let name = &plugin.name;
        match plugin.manifest() {
            Ok(manifest) => {
                let services = manifest.and_then(|manifest| manifest.services);
                let kinds: Vec<String> = match &services {
                    Some(services) => services.kinds().map(|kind| kind.to_string()).collect(),
                    None => vec!["command".to_owned()],
                };
                Check::ok("plugin", format!("{name}: {}", kinds.join(", ")))
            }
            Err(error) => Check::warn(
                "plugin",
                format!("{name}: {}", Chain(&error)),
                "see docs/plugins.md",
            ),
        }
    };
    let all = plugin::all(&roots.install).into_iter();
    all.filter(|plugin| plugin.is_people_s).map(check).collect()
}

fn ask(name: &'static str, program: &Path, mut command: Command) -> Vec<Check> {
    let failed = |detail: String| vec![Check::fail(name, detail, "make install")];
    match command.output() {
        Ok(output) => serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
            let said = String::from_utf8_lossy(&output.stderr);
            failed(said.lines().last().unwrap_or("it said nothing").to_owned())
        }),
        Err(error) => failed(format!("{}: {error}", program.display())),
    }
}
