//! Whether machines can run virtual machines themselves, asked before one is to.

use std::process::Stdio;
use std::time::Duration;

use container_api::plugin::{self, ServiceKind};
use container_api::roots::Roots;
use container_api::{Error, Kind};
use container_resource::check::{Check, Status};
use container_resource::creation::DEFAULT_RUNTIME;
use container_resource::machine::VIRTUALIZATION;

/// How long the plugin has that starts machines: it may have to try KVM.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the plugin that starts machines. One that does not say is believed to be able: it refuses at the boot.
///
/// # Errors
/// When the host cannot, with the reason, or the plugin cannot be run.
pub async fn check(roots: &Roots) -> Result<(), Error> {
    let runtime = plugin::service(roots, DEFAULT_RUNTIME, ServiceKind::Runtime)?;
    let mut command = tokio::process::Command::new(&runtime.program);
    command.arg("probe").arg("--cache").arg(roots.cache());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let context = "ask whether machines can run virtual machines";
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .map_err(|_| {
            Error::new(
                Kind::Timeout,
                format!("no answer within {} s", PATIENCE.as_secs()),
            )
        })
        .and_then(|output| output.map_err(|error| Error::caused(Kind::Internal, error)))
        .map_err(|error| error.context(context))?;
    refusal(&serde_json::from_slice::<Vec<Check>>(&output.stdout).unwrap_or_default())
}

fn refusal(checks: &[Check]) -> Result<(), Error> {
    let found = checks.iter().find(|check| check.name == VIRTUALIZATION);
    let Some(check) = found.filter(|check| check.status != Status::Ok) else {
        return Ok(());
    };
    let error = Error::new(Kind::Unsupported, check.detail.clone());
    Err(match &check.remedy {
        Some(remedy) => error.with_hint(remedy.clone()),
        None => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_plugin_finds_counts() {
        let others = [Check::warn("accelerator", "slow", "x")];
        assert!(refusal(&[]).is_ok() && refusal(&others).is_ok());
        assert!(refusal(&[Check::ok(VIRTUALIZATION, "yes")]).is_ok());
        let refused = refusal(&[Check::warn(VIRTUALIZATION, "it is off", "switch it on")]);
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind, Kind::Unsupported);
        assert_eq!(refused.to_string(), "it is off");
    }
}
