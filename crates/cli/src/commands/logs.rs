use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use container_api::api::{LogsRequest, WaitRequest};
use container_resource::log::{self, Parser, Record, Stream};
use jiff::{SignedDuration, Timestamp};

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

    /// Only the last lines (before --since and --until are looked at)
    #[arg(short = 'n', value_name = "LINES")]
    lines: Option<u64>,

    /// Only output from then on: a time (RFC 3339), or how long ago (10m, 2h)
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "boot")]
    since: Option<Timestamp>,

    /// Only output until then
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "boot")]
    until: Option<Timestamp>,

    /// Put the time before each line
    #[arg(short, long, conflicts_with = "boot")]
    timestamps: bool,

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
            Printer::Records(Records {
                parser: Parser::default(),
                view: View {
                    since: self.since,
                    until: self.until,
                    timestamps: self.timestamps,
                    mid_line: [false; 2],
                },
            })
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
    Records(Records),
}

struct Records {
    parser: Parser,
    view: View,
}

/// What of the records is wanted, and how.
struct View {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    timestamps: bool,
    /// Whether standard output and standard error are inside a line.
    mid_line: [bool; 2],
}

impl Printer {
    fn print(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Records { parser, view } = match self {
            Self::Plain => return output::print(bytes),
            Self::Records(records) => records,
        };
        let mut streams = [Vec::new(), Vec::new()];
        parser.feed(bytes, |record| view.append(&record, &mut streams));
        output::print(&streams[0])?;
        // Nobody to tell that nobody can be told.
        let _ = io::stderr().write_all(&streams[1]);
        Ok(())
    }
}

impl View {
    /// Adds the output of `record` to what is to be written to standard output and standard error.
    fn append(&mut self, record: &Record<'_>, streams: &mut [Vec<u8>; 2]) {
        if self.since.is_some() || self.until.is_some() {
            let Some(time) = record.time() else { return };
            let early = self.since.is_some_and(|since| time < since);
            if early || self.until.is_some_and(|until| time > until) {
                return;
            }
        }
        let index = match record.stream {
            Stream::Stdout => 0,
            Stream::Stderr => 1,
        };
        let stream = &mut streams[index];
        if self.timestamps && !self.mid_line[index] {
            stream.extend_from_slice(record.time_text());
            stream.push(b' ');
        }
        stream.extend_from_slice(record.content);
        if record.ends_line {
            stream.push(b'\n');
        }
        self.mid_line[index] = !record.ends_line;
    }
}

/// A time, or a time ago.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Some(time) = text
        .parse()
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
    {
        return Ok(time);
    }
    let invalid =
        || "a time such as 2026-01-31T12:00:00Z, or a span such as 10m, is expected".to_owned();
    let span: SignedDuration = text.parse().map_err(|_| invalid())?;
    Timestamp::now().checked_sub(span).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[u8] = b"2026-01-01T00:00:01Z stdout P a\n2026-01-01T00:00:02Z stderr F e\n\
        2026-01-01T00:00:03Z stdout F b\n2026-01-01T00:00:04Z stdout F c\n";

    fn view(since: Option<&str>, until: Option<&str>, timestamps: bool) -> [String; 2] {
        let moment = |text: &str| moment(text).unwrap();
        let mut view = View {
            since: since.map(moment),
            until: until.map(moment),
            timestamps,
            mid_line: [false; 2],
        };
        let mut streams = [Vec::new(), Vec::new()];
        Parser::default().feed(LOG, |record| view.append(&record, &mut streams));
        streams.map(|stream| String::from_utf8(stream).unwrap())
    }

    #[test]
    fn streams_are_told_apart() {
        assert_eq!(view(None, None, false), ["ab\nc\n", "e\n"]);
    }

    #[test]
    fn each_line_has_the_time_of_its_beginning() {
        let [stdout, stderr] = view(None, None, true);
        assert_eq!(stdout, "2026-01-01T00:00:01Z ab\n2026-01-01T00:00:04Z c\n");
        assert_eq!(stderr, "2026-01-01T00:00:02Z e\n");
    }

    #[test]
    fn a_part_of_the_time() {
        let since = Some("2026-01-01T00:00:02Z");
        assert_eq!(
            view(since, Some("2026-01-01T00:00:03Z"), false),
            ["b\n", "e\n"]
        );
        assert_eq!(view(Some("1h"), None, false), ["", ""]);
    }

    #[test]
    fn moments() {
        assert_eq!(moment("1").unwrap().as_second(), 1);
        assert!(moment("10m").unwrap() < Timestamp::now());
        for text in ["", "yesterday", "10x", "99999999999999999999h"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }
}
