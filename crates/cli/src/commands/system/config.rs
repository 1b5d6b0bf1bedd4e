use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use container_resource::settings::{Configuration, system_path};

use crate::configuration;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Check the configuration file
#[derive(Debug, Subcommand)]
pub enum Command {
    Check(Check),
}

/// Check the configuration before the system is started with it
///
/// Without FILE, the system's file, the user's file and the environment variables are checked. Bad values and unknown keys are reported
/// with their line, and the exit code is then 1.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container system config check
  container system config check ./config.toml && cp config.toml ~/.config/container/")]
pub struct Check {
    /// Check this file instead
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,
}

impl Command {
    /// Does it; gives the exit code.
    pub fn execute(self, context: &Context) -> Result<u8, Failure> {
        let Self::Check(command) = self;
        command.execute(context)
    }
}

impl Check {
    fn execute(self, context: &Context) -> Result<u8, Failure> {
        let files: Vec<PathBuf> = if let Some(file) = self.file {
            // One that was named should be there.
            std::fs::metadata(&file)
                .with_context(|| format!("configuration file {}", file.display()))?;
            vec![file]
        } else {
            let system = system_path(&context.roots.install);
            let all = [Some(system), configuration::user_path()];
            all.into_iter().flatten().collect()
        };
        let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        let wrong: Vec<String> = match Configuration::of(&paths) {
            Ok(found) => {
                for key in found.unused() {
                    output::tell(format_args!(
                        "Note: {} has no effect in this release",
                        key.name
                    ));
                }
                found.unknown().iter().map(ToString::to_string).collect()
            }
            Err(error) => error.problems().iter().map(ToString::to_string).collect(),
        };
        for problem in &wrong {
            output::tell(problem);
        }
        if !wrong.is_empty() {
            return Ok(1);
        }
        let found = files.iter().filter(|file| file.exists());
        output::write_lines(found.map(|file| format!("{}: no problems", file.display())))?;
        Ok(0)
    }
}
