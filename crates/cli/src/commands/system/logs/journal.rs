//! The services' records in the journal, as `journalctl` gives them. Its library need not be on the host, and its files have many formats.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use container_api::log::field;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;

use crate::failure::Failure;
use crate::output;

/// Most bytes of a record that is shown.
const LIMIT: u64 = 1 << 20;

/// A record, as `--output=json` has it (journalctl(1), systemd.journal-fields(7)).
#[derive(Debug, Deserialize)]
struct Record {
    /// Microseconds since 1970.
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    at: String,
    #[serde(rename = "SYSLOG_IDENTIFIER", default)]
    program: Value,
    #[serde(rename = "PRIORITY", default)]
    priority: Value,
    #[serde(rename = "TARGET", default)]
    target: Value,
    #[serde(rename = "MESSAGE", default)]
    message: Value,
    #[serde(rename = "CONTAINER_ID", default)]
    container: Value,
    #[serde(rename = "CONTAINER_REQUEST", default)]
    request: Value,
}

/// The value of a field: text, or bytes where it is no text; nothing where it is too long; several where it was given several times.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Bytes(Vec<u8>),
    Other(serde::de::IgnoredAny),
    #[default]
    Missing,
}

impl Value {
    fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Self::Other(_) | Self::Missing => None,
        }
    }
}

/// Shows what the system with the app root `app` has said since then, and what it says from now on if `follow`.
pub async fn show(app: &Path, since: Timestamp, follow: bool) -> Result<(), Failure> {
    let mut matched = std::ffi::OsString::from(format!("{}=", field::APP_ROOT));
    matched.push(app);
    let mut command = Command::new("journalctl");
    command
        .args(["--quiet", "--no-pager", "--all", "--output=json"])
        // Before 1970 there was no journal.
        .arg(format!("--since=@{}", since.as_second().max(0)));
    if follow {
        command.args(["--follow", "--no-tail"]);
    }
    command
        .arg(matched)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut reading = command.kill_on_drop(true).spawn().map_err(|error| {
        let missing = error.kind() == io::ErrorKind::NotFound;
        let error = anyhow::Error::new(error).context("journalctl");
        if missing {
            error.context("the services' messages are in the journal, and the program that reads it is not there")
        } else {
            error
        }
    })?;
    let pipe = reading.stdout.take().context("read the journal")?;
    let shown = print(BufReader::new(pipe), since);
    tokio::select! {
        shown = shown => shown?,
        () = output::reader_gone() => return Err(Failure::BrokenPipe),
    }
    let status = reading.wait().await.context("journalctl")?;
    if status.success() {
        Ok(())
    } else {
        Err(anyhow::anyhow!("journalctl: {status}").into())
    }
}

async fn print(
    mut journal: impl tokio::io::AsyncBufRead + Unpin,
    since: Timestamp,
) -> Result<(), Failure> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut journal).take(LIMIT);
        if bounded
            .read_until(b'\n', &mut line)
            .await
            .context("read the journal")?
            == 0
        {
            return Ok(());
        }
        // What is no record, or too long for one, says nothing.
        if let Some(text) = shown(&line, since) {
            output::write_lines([text])?;
        }
    }
}

/// A record in the form that a file would have.
fn shown(json: &[u8], since: Timestamp) -> Option<String> {
    let record: Record = serde_json::from_slice(json).ok()?;
    let at = Timestamp::from_microsecond(record.at.parse().ok()?).ok()?;
    if at < since {
        return None;
    }
    let program = record.program.text().unwrap_or_default();
    let name = program.strip_prefix("container-").unwrap_or(&program);
    let level = match record.priority.text().as_deref() {
        Some("0" | "1" | "2" | "3") => "ERROR",
        Some("4") => "WARN",
        Some("7") => "DEBUG",
        _ => "INFO",
    };
    let mut text = format!("{name}: {at:.6} {level:>5} ");
    if let Some(target) = record.target.text() {
        let _ = write!(text, "{target}: ");
    }
    text += &record.message.text().unwrap_or_default();
    for (name, value) in [("container", record.container), ("request", record.request)] {
        if let Some(value) = value.text() {
            let _ = write!(text, " {name}={value}");
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_shown_as_a_line_of_a_file_is() {
        let since = Timestamp::from_second(1_700_000_000).unwrap();
        let full = br#"{"__REALTIME_TIMESTAMP":"1700000001500000","PRIORITY":"4","SYSLOG_IDENTIFIER":"container-apiserver",
            "TARGET":"container_apiserver::x","MESSAGE":"cold","CONTAINER_ID":"web","CONTAINER_REQUEST":"ab","_PID":"1","X":["1","2"]}"#;
        assert_eq!(
            shown(full, since).unwrap(),
            "apiserver: 2023-11-14T22:13:21.500000Z  WARN container_apiserver::x: cold container=web request=ab"
        );
        let odd = br#"{"__REALTIME_TIMESTAMP":"1700000001500000","MESSAGE":[104,105],"CONTAINER_ID":null,"PRIORITY":["3","4"]}"#;
        assert_eq!(
            shown(odd, since).unwrap(),
            ": 2023-11-14T22:13:21.500000Z  INFO hi"
        );
        let old = br#"{"__REALTIME_TIMESTAMP":"1699999999000000","MESSAGE":"old"}"#;
        for none in [
            &old[..],
            b"",
            b"{}",
            b"[1]",
            b"{\"__REALTIME_TIMESTAMP\":\"x\"}",
        ] {
            assert!(shown(none, since).is_none());
        }
    }
}
