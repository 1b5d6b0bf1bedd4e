use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use container_resource::container::Rlimit;
use container_resource::process::ProcessOptions;
use container_resource::{environment, rlimit};

use crate::failure::Failure;

/// How a process is run.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Process options")]
pub struct ProcessFlags {
    /// Set an environment variable; KEY alone takes its value from this environment
    #[arg(short, long = "env", value_name = "KEY[=VALUE]")]
    environment: Vec<String>,

    /// Read environment variables from a file, one to a line
    #[arg(long = "env-file", value_name = "PATH")]
    environment_files: Vec<PathBuf>,

    /// Run as the group with this number
    #[arg(long, value_name = "GID")]
    gid: Option<u32>,

    /// Keep standard input open and hand it to the process
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

    /// Run as this user: a name or number, and perhaps a group: <user>[:<group>]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,

    /// Directory in the container to run in
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
        let host = |name: &str| std::env::var(name).ok();
        let mut variables = Vec::new();
        for path in &self.environment_files {
            let read = || -> anyhow::Result<Vec<String>> {
                Ok(environment::parse_file(
                    BufReader::new(File::open(path)?),
                    host,
                )?)
            };
            let context = || format!("environment file {}", path.display());
            variables.extend(read().with_context(context).map_err(Failure::usage_chain)?);
        }
        for text in &self.environment {
            variables.extend(environment::parse(text, host).map_err(Failure::usage)?);
        }
        Ok(ProcessOptions {
            environment: variables,
            user: self.user.clone(),
            uid: self.uid,
            gid: self.gid,
            working_directory: self.working_directory.clone(),
            terminal: self.tty,
            rlimits: self.rlimits.clone(),
        })
    }
}
