//! How results are written on standard output (as Apple's container has it).

mod closed;
mod json;
mod printable;
mod reader;
mod screen;
mod table;
mod toml;
mod yaml;

use std::fmt;
use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

pub use closed::for_bytes;
pub use printable::{printable, printable_lines};
pub use reader::reader_gone;
pub use screen::Screen;
pub use table::Table;

use crate::failure::Failure;
use crate::session;

/// How a result is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For programs: one line, sorted keys.
    Json,
    /// For people.
    #[default]
    Table,
    /// For people and programs.
    Yaml,
    /// For programs; arrays are the value of `items`.
    Toml,
}

/// Writes `value` in `format`; `table` is asked only where a table is wanted.
pub fn write<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce() -> Table,
) -> Result<(), Failure> {
    let text = match format {
        Format::Table => table().render(),
        Format::Json => json::compact(value)?,
        Format::Yaml => yaml::render(&serde_json::to_value(value)?),
        Format::Toml => toml::render(&serde_json::to_value(value)?),
    };
    print(text.as_bytes())
}

/// Writes `value` as JSON over several lines, as every `inspect` does.
pub fn write_pretty<T: Serialize>(value: &T) -> Result<(), Failure> {
    print(json::pretty(value)?.as_bytes())
}

/// Writes `value` as JSON on one line, whatever follows it.
pub fn write_json_line<T: Serialize>(value: &T) -> Result<(), Failure> {
    print(json::compact(value)?.as_bytes())
}

/// Writes each of `lines`, made [`printable`], with a newline.
pub fn write_lines<T: AsRef<str>>(lines: impl IntoIterator<Item = T>) -> Result<(), Failure> {
    let mut text = String::new();
    for line in lines {
        text.push_str(&printable(line.as_ref()));
        text.push('\n');
    }
    print(text.as_bytes())
}

/// Writes bytes as they are, at once.
pub fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(|error| write_failure(&error))
}

/// Writes bytes as they are to standard error, where they are a result too.
pub fn print_error(bytes: &[u8]) -> Result<(), Failure> {
    let written = io::stderr().write_all(bytes);
    written.map_err(|error| stream_failure("standard error", &error))
}

/// Prints a message, made [`printable`], on a line of standard error. If there is no reader, there is nobody to tell.
pub fn tell(message: impl fmt::Display) {
    say(&format!("{}\n", printable(&message.to_string())));
}

/// As [`tell`], on several lines: see [`printable_lines`].
pub fn tell_lines(message: impl fmt::Display) {
    say(&format!("{}\n", printable_lines(&message.to_string())));
}

/// As [`tell`], without a newline.
pub fn ask(question: impl fmt::Display) {
    say(&printable(&question.to_string()));
}

fn say(text: &str) {
    let raw = session::is_changed().then(|| text.replace('\n', "\r\n"));
    let text = raw.as_deref().unwrap_or(text);
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Columns of text that is laid out for people: the terminal's, else `COLUMNS`, else 100, as in the rest of the help.
pub fn columns() -> usize {
    let terminal = rustix::termios::tcgetwinsize(io::stdout())
        .ok()
        .map(|size| usize::from(size.ws_col));
    let variable = || std::env::var("COLUMNS").ok()?.parse().ok();
    let columns = terminal.filter(|columns| *columns > 0).or_else(variable);
    columns.unwrap_or(100)
}

/// What a failing standard output means for the command.
pub fn write_failure(error: &io::Error) -> Failure {
    stream_failure("standard output", error)
}

fn stream_failure(stream: &str, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::BrokenPipe;
    }
    Failure::Local(anyhow::anyhow!("cannot write to {stream}: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Every format says the same of the same value, as independent parsers read it.
    #[test]
    fn formats_agree() {
        let value = json!([
            {"id": "a/b", "n": 18_446_744_073_709_551_615_u64, "labels": {}, "list": [1, -2, 1.5], "on": true},
            {"id": "null", "text": "x: y # z", "lines": "a\nb", "empty": "", "nested": {"k": [["v"]]}},
        ]);
        let compact = json::compact(&value).unwrap();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&compact).unwrap(),
            value
        );
        let parsed: ::toml::Value = ::toml::from_str(&toml::render(&value)).unwrap();
        assert_eq!(parsed["items"][0]["id"].as_str(), Some("a/b"));
        assert_eq!(parsed["items"][1]["nested"]["k"][0][0].as_str(), Some("v"));
    }
}
