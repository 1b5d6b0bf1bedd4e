//! The `container` command: turns flags into requests to the system's services, and their answers into output.

mod cli;
mod commands;
mod completion;
mod configuration;
mod connection;
mod daemon;
mod failure;
mod flags;
mod help;
#[cfg(test)]
mod help_snapshots;
mod host;
mod manual;
mod output;
mod output_file;
mod plugin;
mod select;
mod session;
mod spelling;
#[cfg(test)]
mod usage_snapshots;
mod version;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    session::restore_on_panic();
    completion::answer_shell();
    let arguments: Vec<_> = std::env::args_os().collect();
    match cli::run(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.report();
            ExitCode::from(failure.code())
        }
    }
}
