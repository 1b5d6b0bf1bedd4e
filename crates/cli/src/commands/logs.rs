use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use container_api::api::{LogsRequest, WaitRequest};
use container_resource::log::{self, Parser, Stream};

use super::follow::Follower;
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Show what a container printed
///
/// Since it was last started. What went to its standard error goes to standard error here.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  The last lines, and what follows:
    container logs -f -n 20 web

  Messages of the guest's kernel:
    container logs --boot web")]
pub struct Logs {
    /// The console of the virtual machine instead
    #[arg(long)]
    boot: bool,

    /// Go on until the container stops
    #[arg(short, long)]
    follow: bool,

    /// Only the last lines
    #[arg(short = 'n', value_name = "LINES")]
    lines: Option<u64>,

    /// Container
    #[arg(value_name = "CONTAINER", add = completion::containers())]
    id: String,
}

impl Logs {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut containers = context.containers()?;
        let reply = containers
            .logs(LogsRequest {
                id: self.id.clone(),
            })
            .await?
            .into_inner();
        let path = if self.boot {
            &reply.boot_path
        } else {
            &reply.stdio_path
        };
        let Some(file) = open(Path::new(path))? else {
            return Ok(());
        };
        let start = match (self.lines, self.boot) {
            (None, _) => 0,
            (Some(lines), false) => log::tail(&file, lines).context("read the log")?,
            (Some(lines), true) => log::tail_plain(&file, lines).context("read the log")?,
        };
        let mut printer = if self.boot {
            Printer::Plain
        } else {
            Printer::Records(Parser::default())
        };
        let mut follower = Follower::new(file, path.into(), start).context("follow the log")?;
        if !(self.follow && reply.running) {
            return follower.drain(|bytes| printer.print(bytes));
        }
        let ended = async {
            // Stopped, deleted or unreachable: nothing more will come.
            let _ = containers
                .wait(WaitRequest {
                    id: self.id,
                    process: String::new(),
                })
                .await;
        };
        follower.follow(ended, |bytes| printer.print(bytes)).await
    }
}

/// `None` when the container has never been started.
fn open(path: &Path) -> Result<Option<File>, Failure> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(anyhow::Error::new(error)
            .context(format!("log file {}", path.display()))
            .into()),
    }
}

/// Writes what a log holds to where it belongs.
enum Printer {
    /// Bytes as they are.
    Plain,
    /// Records of the two streams.
    Records(Parser),
}

impl Printer {
    fn print(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let parser = match self {
            Self::Plain => return output::print(bytes),
            Self::Records(parser) => parser,
        };
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        parser.feed(bytes, |record| {
            let stream = match record.stream {
                Stream::Stdout => &mut stdout,
                Stream::Stderr => &mut stderr,
            };
            stream.extend_from_slice(record.content);
            if record.ends_line {
                stream.push(b'\n');
            }
        });
        output::print(&stdout)?;
        // Nobody to tell that nobody can be told.
        let _ = io::stderr().write_all(&stderr);
        Ok(())
    }
}
