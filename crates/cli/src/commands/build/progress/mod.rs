//! The progress of a build, on standard error.

mod live;
mod plain;

use std::io::IsTerminal as _;

use clap::ValueEnum;
use container_api::{Error, Kind};
use container_buildkit::{Change, Excerpt, SolveError, StepState, Trace, Update, raw_json};

use crate::failure::Failure;
use crate::output;
use live::Live;
use plain::Plain;

/// What a builder without git says of a context that is a repository.
const GIT: [&str; 2] = [
    "exec: \"git\": executable file not found",
    "git is not supported",
];
/// Lines of a failed step's output that are shown.
const LAST_LINES: usize = 20;

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Style {
    /// A tree on a terminal, else lines.
    #[default]
    Auto,
    /// Lines.
    Plain,
    /// A tree.
    Tty,
    /// One JSON object for each message of the builder.
    Rawjson,
    /// Not at all.
    #[value(alias = "none")]
    Quiet,
}

/// Shows one build.
#[derive(Debug)]
pub enum BuildProgress {
    /// Lines.
    Plain(Plain),
    /// A tree.
    Live(Live),
    /// JSON.
    Raw,
    /// Nothing.
    Quiet,
}

impl BuildProgress {
    /// In `style`, unless `quiet`. A tree is never drawn where no terminal is.
    pub fn new(style: Style, quiet: bool) -> Self {
        let has_terminal = std::io::stderr().is_terminal();
        match style {
            _ if quiet => Self::Quiet,
            Style::Quiet => Self::Quiet,
            Style::Rawjson => Self::Raw,
            Style::Auto | Style::Tty if has_terminal => Self::Live(Live::new()),
            _ => Self::Plain(Plain::default()),
        }
    }

    /// Shows `changes`, which `update` has made to `trace`.
    pub fn show(&mut self, trace: &Trace, changes: &[Change], update: &Update) {
        match self {
            Self::Plain(plain) => {
                for line in plain.lines(trace, changes) {
                    output::tell(line);
                }
            }
            Self::Live(live) => live.show(trace, changes),
            Self::Raw => output::tell(raw_json(update)),
            Self::Quiet => {}
        }
    }

    /// Leaves what has become of it, and what the linter says.
    pub fn finish(&mut self, trace: &Trace) {
        match self {
            Self::Live(live) => live.finish(),
            Self::Plain(plain) => {
                for line in plain.last_lines(trace) {
                    output::tell(line);
                }
            }
            Self::Raw | Self::Quiet => return,
        }
        for warning in trace.warnings() {
            output::tell(format_args!("Warning: {}", warning.text));
            let more = [&warning.detail, &warning.url];
            for line in more.iter().filter(|line| !line.is_empty()) {
                output::tell(format_args!("  {line}"));
            }
            show(warning.excerpt.as_ref());
        }
    }
}

fn show(excerpt: Option<&Excerpt>) {
    if let Some(excerpt) = excerpt {
        for line in excerpt.to_string().lines() {
            output::tell(line);
        }
    }
}

/// Shows where a build has failed; gives what to tell.
pub fn failure(
    trace: &Trace,
    error: SolveError,
    builder: &str,
    dockerfile: Option<&str>,
) -> Failure {
    let failed = trace
        .steps()
        .iter()
        .find(|step| matches!(step.state, StepState::Failed(_)));
    if let Some(step) = failed.filter(|step| !step.output.is_empty()) {
        output::tell("------");
        output::tell(format_args!(" > {}:", step.name));
        let skipped = step.output.len().saturating_sub(LAST_LINES);
        for line in step.output.iter().skip(skipped) {
            output::tell(line);
        }
        output::tell("------");
    }
    match error {
        SolveError::Failed { message, excerpt } => {
            let name = failed.map(|step| step.name.as_str());
            let found =
                dockerfile.and_then(|text| Excerpt::find("Dockerfile", text, &message, name));
            show(excerpt.or(found).as_ref());
            let lacks_git = GIT.iter().any(|words| message.contains(words));
            let error = Error::new(Kind::InvalidArgument, format!("failed to build: {message}"));
            if lacks_git {
                let hint =
                    "The builder has no git: clone the repository, and build from the directory.";
                return error.with_hint(hint).into();
            }
            error.into()
        }
        SolveError::Context(error) => Error::caused(Kind::InvalidArgument, error).into(),
        error @ SolveError::Sink(_) => Error::caused(Kind::Internal, error).into(),
        error @ (SolveError::Lost(_) | SolveError::Session(_)) => {
            let hint = format!(
                "`container logs {builder}` shows what it said; the next build starts it again."
            );
            Error::caused(Kind::Unavailable, error)
                .with_hint(hint)
                .into()
        }
    }
}
