use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use container_api::Kind;
use container_api::api::{PingRequest, ShutdownRequest};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::connection::{Context, prompt};
use crate::failure::Failure;
use crate::output;

/// How long each container may take to stop by itself.
const GRACE: Duration = Duration::from_secs(5);
/// How long the service may take to end after it has stopped everything.
const PATIENCE: Duration = Duration::from_secs(20);

/// Stop all containers and the services
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container system stop")]
pub struct Stop {}

impl Stop {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let not_running = || output::tell("The container system service is not running.");
        let Ok(mut system) = context.system() else {
            not_running();
            return Ok(());
        };
        let reply = match prompt(system.ping(PingRequest {})).await {
            Ok(reply) => reply,
            Err(failure) if failure.kind() == Some(Kind::Timeout) => return Err(failure),
            Err(_) => {
                not_running();
                return Ok(());
            }
        };
        // Opened before the service knows of its end, so that the number cannot mean another process.
        let process =
            Pid::from_raw(reply.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let grace_ms = u32::try_from(GRACE.as_millis()).unwrap_or(u32::MAX);
        system.shutdown(ShutdownRequest { grace_ms }).await?;
        let Some(process) = process else {
            return Ok(());
        };
        let mut ended = [PollFd::new(&process, PollFlags::IN)];
        let patience = Timespec::try_from(PATIENCE).context("wait for the service")?;
        // Nothing else happens in this process, so it may block.
        match rustix::event::poll(&mut ended, Some(&patience)).context("wait for the service")? {
            0 => {
                let seconds = PATIENCE.as_secs();
                Err(anyhow::anyhow!("the service has not ended after {seconds} s").into())
            }
            _ => Ok(()),
        }
    }
}
