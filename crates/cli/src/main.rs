//! The `container` command: turns flags into requests to the system's services, and their answers into output.

mod cli;
mod commands;
mod completion;
mod connection;
mod daemon;
mod failure;
mod flags;
mod help;
#[cfg(test)]
mod help_snapshots;
mod output;
mod plugin;
mod select;
mod session;
mod version;

use std::process::ExitCode;

fn main() -> ExitCode {
    session::restore_on_panic();
    completion::answer_shell();
    match cli::run(std::env::args_os().collect()) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.report();
            ExitCode::from(failure.code())
        }
    }
}
