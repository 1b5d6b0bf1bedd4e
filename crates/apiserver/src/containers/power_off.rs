//! How a machine is asked to shut down.

use std::time::Duration;

use container_api::Error;
use container_resource::process::ProcessOptions;

use super::helper::Helper;
use super::{Entry, exec};

/// Each init has a signal of its own for it, and comes with a program that knows it. Where there is none it is systemd's signal.
const POWER_OFF: &str = "poweroff || kill -s RTMIN+4 1";
/// How long the program may take to be started.
const PATIENCE: Duration = Duration::from_secs(5);

/// Has the init of the machine `entry` shut it down; nothing to do for another container. The stop signal and the grace come
/// afterwards, whatever becomes of it.
pub async fn ask(entry: &Entry, helper: &Helper) {
    let asked = tokio::time::timeout(PATIENCE, begin(entry, helper)).await;
    let failed = match asked {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.message(),
        Err(_) => "no answer".to_owned(),
    };
    tracing::warn!(container = %entry.id, "the machine was not asked to shut down: {failed}");
}

async fn begin(entry: &Entry, helper: &Helper) -> Result<(), Error> {
    if entry.configuration()?.machine.is_none() {
        return Ok(());
    }
    let words = ["/bin/sh", "-c", POWER_OFF].map(str::to_owned);
    let request = exec::request(entry, &words, &ProcessOptions::default())?;
    helper
        .call(|mut client| async move { client.exec(request).await })
        .await?;
    Ok(())
}
