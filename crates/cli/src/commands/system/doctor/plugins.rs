//! Plugins say of themselves what they find: the one that starts machines, and the one that makes networks.

use std::path::Path;
use std::process::Command;

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
