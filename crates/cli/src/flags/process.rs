use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use container_resource::container::Rlimit;
use container_resource::process::ProcessOptions;
use container_resource::{environment, line_file, rlimit};

use crate::failure::Failure;
use crate::output;

/// How a process is run.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Process options")]
pub struct ProcessFlags {
    /// Set an environment variable; KEY alone takes its value from this environment
    #[arg(short, long = "env", value_name = "KEY[=VALUE]")]
    environment: Vec<OsString>,

    /// Read environment variables from a file, one to a line
    #[arg(long = "env-file", value_name = "PATH")]
    environment_files: Vec<PathBuf>,

    /// Run as the group with this number
    #[arg(long, value_name = "GID")]
    gid: Option<u32>,

    /// Keep standard input open and send it to the process
    #[arg(short, long)]
    pub interactive: bool,

    /// Give the process a terminal
    #[arg(short, long)]
    pub tty: bool,

    /// Run as the user with this number
    #[arg(long, value_name = "UID")]
    uid: Option<u32>,

    /// Limit a resource of the process: <type>=<soft>[:<hard>]
    #[arg(long = "ulimit", value_name = "LIMIT", value_parser = rlimit::parse)]
    rlimits: Vec<Rlimit>,

    /// Run as this user: a name or number, and perhaps a group: <user>[:<group>] (empty: the default)
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,

    /// Directory in the container to run in (empty: the default)
    #[arg(
        short,
        long = "workdir",
        visible_alias = "cwd",
        value_name = "DIRECTORY"
    )]
    working_directory: Option<String>,
}

impl ProcessFlags {
    /// What they say, with the files read and the variables of this environment looked up.
    pub fn options(&self) -> Result<ProcessOptions, Failure> {
        let mut variables = Vec::new();
        for path in &self.environment_files {
            let read = entries_of(path, |line| environment::parse(line, host_variable))
                .with_context(|| format!("--env-file {}", path.display()));
            variables.extend(read.map_err(Failure::usage_chain)?.into_iter().flatten());
        }
        for text in &self.environment {
            let text = as_text(text, |text| {
                text.split_once('=')
                    .map_or(text, |(name, _)| name)
                    .to_owned()
            });
            let variable = environment::parse(&text, host_variable)
                .map_err(|error| Failure::usage(format_args!("--env: {error}")))?;
            variables.extend(variable);
        }
        Ok(ProcessOptions {
            environment: variables,
            user: self.user.clone(),
            uid: self.uid,
            gid: self.gid,
            working_directory: self.working_directory.clone(),
            terminal: self.tty,
            privileged: false,
            rlimits: self.rlimits.clone(),
        })
    }
}

/// What `parse` makes of each line of a file.
pub fn entries_of<T, E: std::error::Error + Send + Sync + 'static>(
    path: &Path,
    parse: impl FnMut(&str) -> Result<T, E>,
) -> anyhow::Result<Vec<T>> {
    Ok(line_file::parse(BufReader::new(File::open(path)?), parse)?)
}

fn host_variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| as_text(&value, |_| name.to_owned()))
}

/// A value as a container can be given it. What is stored and sent of a container is JSON, which has no other bytes than
/// those of UTF-8: like Docker, this replaces them, but not in silence.
fn as_text(value: &OsStr, name: impl FnOnce(&str) -> String) -> String {
    let text = value.to_string_lossy();
    if value.to_str().is_none() {
        output::tell(format_args!(
            "Warning: environment variable {} is not UTF-8: each wrong byte of it becomes U+FFFD",
            name(&text)
        ));
    }
    text.into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn a_value_that_is_no_utf_8_is_handed_on() {
        let flags = ProcessFlags {
            environment: vec![OsStr::from_bytes(b"A=x\xffy").to_owned(), "B=1".into()],
            ..ProcessFlags::default()
        };
        let options = flags.options().unwrap();
        assert_eq!(options.environment, ["A=x\u{fffd}y", "B=1"]);
    }

    #[test]
    fn mistakes_name_their_flag() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("f");
        std::fs::write(&file, "A=1\n=2\n").unwrap();
        let words = |flags: ProcessFlags| match flags.options() {
            Err(Failure::Usage(text)) => text,
            other => panic!("{other:?}"),
        };
        let of_file = |path: &Path| {
            words(ProcessFlags {
                environment_files: vec![path.to_owned()],
                ..ProcessFlags::default()
            })
        };
        assert_eq!(
            of_file(&file),
            format!(
                "--env-file {}: line 2: environment variable '=2' has no name",
                file.display()
            )
        );
        let absent = scratch.path().join("absent");
        assert!(of_file(&absent).starts_with(&format!("--env-file {}: No such", absent.display())));
        let unnamed = ProcessFlags {
            environment: vec!["=x".into()],
            ..ProcessFlags::default()
        };
        assert_eq!(
            words(unnamed),
            "--env: environment variable '=x' has no name"
        );
    }
}
