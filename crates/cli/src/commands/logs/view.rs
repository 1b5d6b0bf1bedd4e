use container_resource::log::{Parser, Record, Stream};
use jiff::Timestamp;

use crate::failure::Failure;
use crate::output;

/// Writes what a log holds to where it belongs.
#[derive(Debug)]
pub enum Printer {
    /// Bytes as they are.
    Plain,
    /// Records of the two streams.
    Records(Records),
}

/// What is being read of records.
#[derive(Debug)]
pub struct Records {
    parser: Parser,
    view: View,
}

/// What of the records is wanted, and how.
#[derive(Debug)]
struct View {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    timestamps: bool,
    /// Whether standard output and standard error are inside a line.
    mid_line: [bool; 2],
    /// A record of a time behind `until` was seen.
    over: bool,
}

impl Printer {
    /// Writes bytes as they are.
    pub fn plain() -> Self {
        Self::Plain
    }

    /// Writes the output that records hold to the stream that it came from.
    pub fn records(since: Option<Timestamp>, until: Option<Timestamp>, timestamps: bool) -> Self {
        let view = View {
            since,
            until,
            timestamps,
            mid_line: [false; 2],
            over: false,
        };
        Self::Records(Records {
            parser: Parser::default(),
            view,
        })
    }

    /// Whether the log has come behind the last time that is wanted.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Records(Records { view, .. }) if view.over)
    }

    /// Takes the next bytes of the log.
    pub fn print(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Records { parser, view } = match self {
            Self::Plain => return output::print(bytes),
            Self::Records(records) => records,
        };
        let mut streams = [Vec::new(), Vec::new()];
        parser.feed(bytes, |record| view.append(&record, &mut streams));
        output::print(&streams[0])?;
        output::print_error(&streams[1])
    }
}

impl View {
    /// Adds the output of `record` to what is to be written to standard output and standard error.
    fn append(&mut self, record: &Record<'_>, streams: &mut [Vec<u8>; 2]) {
        if self.since.is_some() || self.until.is_some() {
            let Some(time) = record.time() else { return };
            let late = self.until.is_some_and(|until| time > until);
            self.over |= late;
            if late || self.since.is_some_and(|since| time < since) {
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

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[u8] = b"2026-01-01T00:00:01Z stdout P a\n2026-01-01T00:00:02Z stderr F e\n\
        2026-01-01T00:00:03Z stdout F b\n2026-01-01T00:00:04Z stdout F c\n";

    fn view(since: Option<&str>, until: Option<&str>, timestamps: bool) -> [String; 2] {
        let moment = |text: &str| text.parse().unwrap();
        let mut view = View {
            since: since.map(moment),
            until: until.map(moment),
            timestamps,
            mid_line: [false; 2],
            over: false,
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
    }
}
