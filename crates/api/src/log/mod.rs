//! Where what the processes of the host say goes, and in what form.
//!
//! Each line or record names the container and the request that it is about, as far as they are known. Where journald runs, it gets
//! the records in its own protocol; elsewhere lines go to standard error, which whoever started the process has made a file.

mod journal;
mod line;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use crate::request::{self, RequestId};

pub use journal::SOCKET as JOURNAL_SOCKET;
pub use journal::field;

/// Names the app root of a system that says everything to the journal, for the processes that the apiserver starts.
pub const VARIABLE: &str = "CONTAINER_LOG_JOURNAL";

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Lines on standard error.
    Lines,
    /// The journal, as records of the system with this app root.
    Journal(PathBuf),
}

/// Libraries that say more in detail than anybody wants to know.
const QUIET: [&str; 6] = [
    "h2",
    "hyper",
    "hyper_util",
    "zbus",
    "netlink_proto",
    "hickory_proto",
];

/// The container that all of this process is for.
static CONTAINER: OnceLock<String> = OnceLock::new();

/// Where this process says what it says.
static TARGET: OnceLock<Target> = OnceLock::new();

impl Target {
    /// What whoever started this process wants.
    pub fn inherited() -> Self {
        match std::env::var_os(VARIABLE) {
            Some(app) if !app.is_empty() => Self::Journal(app.into()),
            _ => Self::Lines,
        }
    }

    /// The journal if it is there, for the system with the app root `app`.
    pub fn of_host(app: &Path) -> Self {
        if journal::is_there() {
            Self::Journal(app.to_owned())
        } else {
            Self::Lines
        }
    }
}

/// Has what this process, called `program`, says go to `target`, from `level` on.
///
/// To be called once, at the start of `main`: a process that is shut in later keeps the connection.
pub fn begin(program: &str, target: Target, level: Level) {
    let quiet = QUIET.map(|library| (library, level.min(Level::INFO)));
    let filter = Targets::new().with_default(level).with_targets(quiet);
    let journal = match &target {
        Target::Journal(app) => journal::Journal::connect(program, app).ok(),
        Target::Lines => None,
    };
    // Whoever started a program that fails shows its last words. What the journal gets by standard error anyway is not said twice.
    let level = match journal {
        None => LevelFilter::TRACE,
        Some(_) if errors_are_the_journal() => LevelFilter::OFF,
        Some(_) => LevelFilter::ERROR,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        .event_format(line::Line)
        .with_filter(level);
    tracing_subscriber::registry()
        .with(filter)
        .with(journal)
        .with(lines)
        .init();
    // Whoever calls this twice has failed above.
    let _ = TARGET.set(target);
}

/// Whether the journal has what this process says.
pub fn is_journal() -> bool {
    matches!(TARGET.get(), Some(Target::Journal(_)))
}

/// Has a helper that `command` starts say what it says where this process does, for the request that it is started for.
pub fn pass_on(command: &mut Command) {
    if let Some(Target::Journal(app)) = TARGET.get() {
        command.env(VARIABLE, app);
    }
    if let Some(id) = RequestId::current() {
        command.env(request::VARIABLE, id.to_string());
    }
}

/// Says that this process is for the container `id` alone.
pub fn set_container(id: &str) {
    // A process has one container in its life.
    let _ = CONTAINER.set(id.to_owned());
}

/// Whether systemd has connected standard error to the journal (systemd.exec(5), `JOURNAL_STREAM`).
fn errors_are_the_journal() -> bool {
    let Ok(told) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|found| told == format!("{}:{}", found.dev(), found.ino()))
}

/// What is known of a record beside its own fields: names and values.
fn context(has_container: bool) -> impl Iterator<Item = (&'static str, String)> {
    let container = CONTAINER.get().filter(|_| !has_container).cloned();
    let request = RequestId::current();
    let container = container.map(|id| ("container", id));
    let request = request.map(|id| ("request", id.to_string()));
    container.into_iter().chain(request)
}
