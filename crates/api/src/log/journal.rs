//! Records as the journal takes them (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).
//!
//! `tracing-journald` names the journal's socket with every record, and by the rules that a confined process has none may be named: ours is
//! connected once, before.

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Where journald listens for records.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// Most bytes of one value. A record is one datagram, which has to fit the socket's buffer (some 200 KiB).
const VALUE_LIMIT: usize = 16 << 10;

/// Names of fields in the journal.
pub mod field {
    /// Path of the system's app root.
    pub const APP_ROOT: &str = "CONTAINER_APP_ROOT";
    /// Id of the container that a record is about.
    pub const CONTAINER: &str = "CONTAINER_ID";
    /// Id of the request.
    pub const REQUEST: &str = "CONTAINER_REQUEST";
}

/// Whether records can be sent to a journal.
pub(super) fn is_there() -> bool {
    open().is_ok()
}

fn open() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SOCKET)?;
    // A journal that hangs holds nobody up.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The journal, for one process.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    /// The fields that every record has.
    beginning: Vec<u8>,
}

impl Journal {
    /// As `program` of the system with the app root `app`.
    pub(super) fn connect(program: &str, app: &Path) -> io::Result<Self> {
        let mut beginning = Vec::new();
        put(&mut beginning, "SYSLOG_IDENTIFIER", program.as_bytes());
        put(&mut beginning, field::APP_ROOT, app.as_os_str().as_bytes());
        let socket = open()?;
        Ok(Self { socket, beginning })
    }

    fn record(&self, event: &Event<'_>) -> Vec<u8> {
        let mut record = self.beginning.clone();
        let metadata = event.metadata();
        put(&mut record, "PRIORITY", priority(*metadata.level()));
        put(&mut record, "TARGET", metadata.target().as_bytes());
        let mut fields = Fields(&mut record);
        event.record(&mut fields);
        let has_container = metadata.fields().field("container").is_some();
        for (name, value) in super::context(has_container) {
            put(&mut record, &in_journal(name), value.as_bytes());
        }
        record
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // Nobody could be told that nobody is told.
        let _ = self.socket.send(&self.record(event));
    }
}

/// Of syslog(3).
fn priority(level: Level) -> &'static [u8] {
    match level {
        Level::ERROR => b"3",
        Level::WARN => b"4",
        Level::INFO => b"6",
        _ => b"7",
    }
}

/// The name that a field of ours has in the journal: capitals, digits and underscores, and no underscore at its beginning.
fn in_journal(name: &str) -> String {
    match name {
        "message" => "MESSAGE".to_owned(),
        "container" => field::CONTAINER.to_owned(),
        "request" => field::REQUEST.to_owned(),
        _ => {
            let name = name.to_ascii_uppercase();
            format!(
                "CONTAINER_{}",
                name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
            )
        }
    }
}

/// Adds a field. The second form is for values of several lines.
fn put(record: &mut Vec<u8>, name: &str, value: &[u8]) {
    let value = &value[..value.len().min(VALUE_LIMIT)];
    record.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        record.push(b'\n');
        record.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        record.push(b'=');
    }
    record.extend_from_slice(value);
    record.push(b'\n');
}

struct Fields<'a>(&'a mut Vec<u8>);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        put(self.0, &in_journal(field.name()), value.as_bytes());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::prelude::*;

    use super::*;

    #[test]
    fn a_record_is_what_the_protocol_says() {
        let (socket, theirs) = UnixDatagram::pair().unwrap();
        let mut beginning = Vec::new();
        put(&mut beginning, "SYSLOG_IDENTIFIER", b"one");
        let journal = Journal { socket, beginning };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), || {
            tracing::error!(container = %"web", tried = 2, "a\nMESSAGE=b");
            tracing::info!("{}", "x".repeat(1 << 20));
        });
        let mut record = vec![0; 1 << 20];
        let length = theirs.recv(&mut record).unwrap();
        let expected =
            b"SYSLOG_IDENTIFIER=one\nPRIORITY=3\nTARGET=container_api::log::journal::tests\n\
            MESSAGE\n\x0b\0\0\0\0\0\0\0a\nMESSAGE=b\nCONTAINER_ID=web\nCONTAINER_TRIED=2\n";
        assert_eq!(
            record[..length].escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
        let length = theirs.recv(&mut record).unwrap();
        assert!((VALUE_LIMIT..2 * VALUE_LIMIT).contains(&length), "{length}");
    }
}
