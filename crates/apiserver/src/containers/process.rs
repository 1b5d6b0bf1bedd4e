//! The end of a process beside the first one.

use std::time::Duration;

use container_api::{Error, Kind, runtime};
use container_resource::bundle::Exit;

use super::Containers;
use super::follow::{KILLED, exit};

/// How long the end of a container may take to be known after its helper has gone.
const END_LIMIT: Duration = Duration::from_secs(60);

impl Containers {
    /// How the further process `process` of the container `id` ends. The end of the container is one: what it still ran is
    /// killed.
    pub async fn process_ended(&self, id: &str, process: String) -> Result<Exit, Error> {
        let entry = self.get(id)?;
        let mut client = entry.helper()?.client();
        let error = match client.wait(runtime::WaitRequest { process }).await {
            Ok(reply) => return Ok(exit(&reply.into_inner())),
            Err(status) => Error::from(status),
        };
        // A helper that has gone took its answer along.
        if !matches!(error.kind, Kind::Unavailable | Kind::Cancelled) {
            return Err(error);
        }
        match tokio::time::timeout(END_LIMIT, entry.ended()).await {
            Ok(Ok(exit)) => Ok(killed_with(exit)),
            _ => Err(error),
        }
    }
}

/// The end of a process whose container ended so.
fn killed_with(exit: Exit) -> Exit {
    Exit {
        exit_code: match exit.reason {
            Some(_) => exit.exit_code,
            None => KILLED,
        },
        oom_killed: false,
        ..exit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_still_ran_was_killed_unless_its_machine_was_lost() {
        let exit = |code: i32, reason: Option<&str>| -> Exit {
            serde_json::from_value(serde_json::json!({
                "exitCode": code, "exited": "2026-01-01T00:00:00Z", "reason": reason
            }))
            .unwrap()
        };
        assert_eq!(killed_with(exit(0, None)).exit_code, 137);
        assert_eq!(killed_with(exit(137, None)).reason, None);
        let lost = killed_with(exit(255, Some("the runtime helper died")));
        assert_eq!(lost.exit_code, 255);
        assert_eq!(lost.reason.as_deref(), Some("the runtime helper died"));
    }
}
