//! Saves and loads the state of a machine's devices. Guest memory is a file that stays outside of
//! the stream (`x-ignore-shared`).

use std::os::fd::BorrowedFd;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::qmp::Qmp;
use crate::vmm::ControlError;

/// How long saving or loading may take: the state has some 40 KB.
const LIMIT: Duration = Duration::from_secs(20);

/// Writes the state of the running machine to `file`, which stops it for good. It must not be
/// stopped before: a loaded machine does what the saved one did.
pub(crate) async fn save(control: &Qmp, file: BorrowedFd<'_>) -> Result<(), ControlError> {
    set_capabilities(control).await?;
    let mut events = control.subscribe()?;
    control
        .execute_with("getfd", json!({ "fdname": "state" }), Some(file), LIMIT)
        .await?;
    control
        .execute("migrate", json!({ "uri": "fd:state" }), LIMIT)
        .await?;
    let completed = async {
        loop {
            let progress = control.execute("query-migrate", Value::Null, LIMIT).await?;
            match progress["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => {
                    let reason = progress["error-desc"].as_str().unwrap_or("unknown error");
                    let description = reason.to_owned();
                    return Err(ControlError::Refused {
                        command: "migrate",
                        description,
                    });
                }
                _ => next(&mut events, "MIGRATION").await?,
            }
        }
    };
    bounded("migrate", completed).await
}

/// Loads the state from the VMM's descriptor `number`, upon which the machine runs.
pub(crate) async fn load(control: &Qmp, number: i32) -> Result<(), ControlError> {
    set_capabilities(control).await?;
    let mut events = control.subscribe()?;
    let uri = format!("fd:{number}");
    control
        .execute("migrate-incoming", json!({ "uri": uri }), LIMIT)
        .await?;
    bounded("migrate-incoming", next(&mut events, "RESUME")).await
}

async fn set_capabilities(control: &Qmp) -> Result<(), ControlError> {
    let on = |capability| json!({ "capability": capability, "state": true });
    let capabilities = json!({ "capabilities": [on("x-ignore-shared"), on("events")] });
    control
        .execute("migrate-set-capabilities", capabilities, LIMIT)
        .await
        .map(drop)
}

/// Waits for an event.
async fn next(
    events: &mut tokio::sync::broadcast::Receiver<String>,
    name: &str,
) -> Result<(), ControlError> {
    loop {
        match events.recv().await {
            Ok(event) if event == name => return Ok(()),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Err(ControlError::Closed),
        }
    }
}

async fn bounded(
    command: &'static str,
    wait: impl Future<Output = Result<(), ControlError>>,
) -> Result<(), ControlError> {
    tokio::time::timeout(LIMIT, wait)
        .await
        .unwrap_or(Err(ControlError::Timeout {
            command,
            limit: LIMIT,
        }))
}
