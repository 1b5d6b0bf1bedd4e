//! What starts machines: the runtime helper says of itself what it finds.

use std::process::Command;

use container_api::roots::Roots;
use container_resource::check::Check;

/// The plugin that starts machines.
const PLUGIN: &str = "container-runtime-linux";

/// Asks the plugin.
pub fn checks(roots: &Roots) -> Vec<Check> {
    let program = roots.plugin(PLUGIN);
    let mut command = Command::new(&program);
    command.arg("probe").arg("--cache").arg(roots.cache());
    let failed = |detail: String| vec![Check::fail("runtime", detail, "make install")];
    match command.output() {
        Ok(output) => serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
            let said = String::from_utf8_lossy(&output.stderr);
            failed(said.lines().last().unwrap_or("it said nothing").to_owned())
        }),
        Err(error) => failed(format!("{}: {error}", program.display())),
    }
}
