//! Making the user of the host known in a machine.

use std::sync::Arc;
use std::time::Duration;

use container_api::{Error, Kind};
use container_resource::process::ProcessOptions;

use crate::containers::Containers;

/// Waits for the init, and does it, once in a machine's life; as root, in the machine.
const SCRIPT: &str = concat!(include_str!("ready.sh"), include_str!("first-boot.sh"));
/// Makes the account, where the image brings no script of its own.
const CREATE_USER: &str = include_str!("create-user.sh");
/// How long it may take, under emulation and with a large skeleton of a home.
const PATIENCE: Duration = Duration::from_secs(120);

/// Makes the user of the machine whose container is `id`, which runs, known in it.
///
/// # Errors
/// When the script cannot be run, or fails: what it says is on the machine's console.
pub async fn introduce(containers: &Arc<Containers>, id: &str) -> Result<(), Error> {
    let entry = containers.get(id)?;
    let configuration = entry.configuration()?;
    let Some(machine) = &configuration.machine else {
        return Ok(());
    };
    let user = &machine.user_setup;
    let environment = vec![
        format!("CONTAINER_MACHINE_ID={}", machine.id),
        format!("CONTAINER_USER={}", user.username),
        format!("CONTAINER_UID={}", user.uid),
        format!("CONTAINER_GID={}", user.gid),
        format!("CONTAINER_HOME={}", user.home),
        format!(
            "CONTAINER_SHELL={}",
            machine.attached.shell.as_ref().unwrap_or(&user.shell)
        ),
        format!("CONTAINER_CREATE_USER={CREATE_USER}"),
        format!(
            "CONTAINER_SETUP={}",
            machine.attached.setup_script.as_deref().unwrap_or_default()
        ),
    ];
    let options = ProcessOptions {
        environment,
        ..ProcessOptions::default()
    };
    let words = ["/bin/sh", "-c", SCRIPT].map(str::to_owned);
    let context = format!("set up user {} in machine {}", user.username, machine.id);
    let run = async {
        let process = containers.exec(id, &words, &options, None).await?;
        containers.process_ended(id, process).await
    };
    let failed = |error: Error| error.context(&context);
    let exit = tokio::time::timeout(PATIENCE, run)
        .await
        .map_err(|_| {
            let text = format!("not done within {} s", PATIENCE.as_secs());
            failed(Error::new(Kind::Timeout, text))
        })?
        .map_err(failed)?;
    if exit.exit_code == 0 {
        return Ok(());
    }
    let text = format!("its script ended with exit code {}", exit.exit_code);
    Err(
        failed(Error::new(Kind::InvalidState, text)).with_hint(format!(
            "Its words are in `container machine logs {}`.",
            machine.id
        )),
    )
}
