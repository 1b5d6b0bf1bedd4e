//! Waiting for the end of a container, from any source.

use std::time::{Duration, Instant};

use container_api::api::WaitRequest;
use container_api::types::Exit;

use crate::connection::Containers;
use crate::failure::{self, Failure};

/// How long an apiserver that has died may be away before its client gives up.
const RECONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked for meanwhile.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(200);

/// How what `request` names ended. Containers survive the death of the apiserver, and so does this wait when there
/// soon is another one.
pub async fn ended(mut containers: Containers, request: WaitRequest) -> Result<Exit, Failure> {
    let mut lost: Option<Instant> = None;
    loop {
        let asked = Instant::now();
        let status = match containers.wait(request.clone()).await {
            Ok(reply) => return Ok(reply.into_inner()),
            Err(status) if failure::is_lost(&status) => status,
            Err(status) => return Err(status.into()),
        };
        // An answer that took its time means that the apiserver was there meanwhile.
        let since = *lost.get_or_insert(asked);
        if asked.elapsed() > RECONNECT_INTERVAL {
            lost = None;
        } else if since.elapsed() > RECONNECT_PATIENCE {
            return Err(status.into());
        }
        tokio::time::sleep(RECONNECT_INTERVAL).await;
    }
}
