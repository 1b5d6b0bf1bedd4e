mod moment;
mod parts;
mod view;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use container_api::Kind;
use container_api::api::{LogsRequest, WaitRequest};
use container_resource::log;
use jiff::Timestamp;

use super::follow::Follower;
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;
use crate::session::ended;
use view::Printer;

/// How often the clock is looked at for `--until`.
const LOOK: Duration = Duration::from_secs(1);

/// Show what a container printed
///
/// Shows the output of all its runs, the oldest first. Its standard error is written to standard error.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  The last lines, and what follows:
    container logs -f -n 20 web

  Messages of the guest's kernel:
    container logs --boot web")]
pub struct Logs {
    #[command(flatten)]
    flags: LogFlags,

    /// Container
    #[arg(value_name = "CONTAINER", add = completion::containers())]
    id: String,
}

/// What of a log is shown, and how.
#[derive(Args, Debug)]
pub struct LogFlags {
    /// Show the console of the virtual machine instead
    #[arg(long)]
    boot: bool,

    /// Show new output, too, until the container has stopped and its restart policy does not start it again
    #[arg(short, long)]
    follow: bool,

    /// Only the last lines, counted before --since and --until apply; all, or a number below 0: every line
    #[arg(short = 'n', long = "tail", value_name = "LINES", allow_negative_numbers = true, value_parser = tail)]
    lines: Option<Tail>,

    /// Only output after this time: RFC 3339, or local time, or seconds since 1970, or how long ago (10m, 2h)
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    since: Option<Timestamp>,

    /// Only output before this time; --follow ends then
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    until: Option<Timestamp>,

    /// Put the time before each line
    #[arg(short, long)]
    timestamps: bool,
}

impl Logs {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        self.flags.show(context, self.id).await
    }
}

impl LogFlags {
    /// Shows the log of the container `id`.
    pub async fn show(&self, context: &Context, id: String) -> Result<(), Failure> {
        if self.boot && (self.since.is_some() || self.until.is_some() || self.timestamps) {
            // The console's lines have the guest's own times.
            return Err(Failure::usage(
                "--boot conflicts with --since, --until and --timestamps",
            ));
        }
        let mut containers = context.containers()?;
        let reply = containers
            .logs(LogsRequest { id: id.clone() })
            .await?
            .into_inner();
        let (path, tail): (_, parts::TailOf) = if self.boot {
            (reply.boot_path, log::tail_plain)
        } else {
            (reply.stdio_path, log::tail)
        };
        let path = PathBuf::from(path);
        let Some((before, last)) = parts::open(&path, self.lines.and_then(|lines| lines.0), tail)
            .context("read the log")?
        else {
            return Ok(());
        };
        let mut printer = if self.boot {
            Printer::plain()
        } else {
            Printer::records(self.since, self.until, self.timestamps)
        };
        if let Some(part) = before {
            Follower::new(part.file, path.clone(), part.start)
                .context("read the log")?
                .drain(|bytes| printer.print(bytes))?;
        }
        let mut follower = Follower::new(last.file, path, last.start).context("read the log")?;
        if !(self.follow && reply.active) {
            return follower.drain(|bytes| printer.print(bytes));
        }
        let mut told = Ok(());
        let rests = async {
            let request = WaitRequest {
                id,
                rest: true,
                ..WaitRequest::default()
            };
            tokio::select! {
                reply = ended(containers, request) => told = reply.map(drop),
                () = passed(self.until) => {}
            }
        };
        let print = |bytes: &[u8]| {
            printer.print(bytes)?;
            // A flood of output would leave no time for the clock.
            Ok(if printer.is_over() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        };
        tokio::select! {
            followed = follower.follow(rests, print) => followed?,
            () = output::reader_gone() => return Err(Failure::BrokenPipe),
        }
        match told {
            // It was deleted.
            Err(Failure::Service(error)) if error.kind == Kind::NotFound => Ok(()),
            told => told,
        }
    }
}

/// How many of the last lines are wanted; `None`: all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tail(Option<u64>);

fn tail(text: &str) -> Result<Tail, String> {
    match text.parse::<i64>() {
        _ if text == "all" => Ok(Tail(None)),
        Ok(number) => Ok(Tail(u64::try_from(number).ok())),
        Err(_) => Err("a number of lines, or all, is expected".to_owned()),
    }
}

/// Ends when `until` has passed by the host's clock, which is looked at each second: it may be set meanwhile.
async fn passed(until: Option<Timestamp>) {
    let Some(until) = until else {
        return std::future::pending().await;
    };
    // A duration that is negative is no std one: the time has passed.
    while let Ok(left) = Duration::try_from(until.duration_since(Timestamp::now())) {
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn all_lines_can_be_asked_for() {
        assert_eq!(tail("5"), Ok(Tail(Some(5))));
        assert_eq!(tail("0"), Ok(Tail(Some(0))));
        for text in ["all", "-1", "-7"] {
            assert_eq!(tail(text), Ok(Tail(None)), "{text}");
        }
        for text in ["", "ALL", "some", "1.5"] {
            assert!(tail(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_time_passes() {
        let now = Timestamp::now();
        passed(Some(now)).await;
        passed(Some(now - SignedDuration::from_hours(1))).await;
        passed(Some(now + SignedDuration::from_millis(20))).await;
        assert!(Timestamp::now() >= now + SignedDuration::from_millis(20));
        for until in [None, Some(now + SignedDuration::from_hours(1))] {
            let limit = Duration::from_millis(20);
            tokio::time::timeout(limit, passed(until))
                .await
                .unwrap_err();
        }
    }
}
