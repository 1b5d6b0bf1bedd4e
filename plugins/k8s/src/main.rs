//! The plugin `container k8s`: a Kubernetes cluster of one node, which is a container made of a node image of kind
//! (as Apple's container has it). It drives the `container` command, as a person would.

mod cluster;
mod commands;
mod container;
mod kubeadm;
mod kubeconfig;
mod port;
mod table;

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

/// Wrong usage, as `sysexits.h` numbers it, and as `container` itself ends then.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let line = match commands::Line::try_parse() {
        Ok(line) => line,
        Err(error) => return explain(&error),
    };
    match line.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Shows help that was asked for, or what is wrong with the line.
fn explain(error: &clap::Error) -> ExitCode {
    let shown = error.render().to_string();
    let is_help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if is_help {
        print!("{shown}");
        return ExitCode::SUCCESS;
    }
    let text = shown.strip_prefix("error: ").unwrap_or(&shown);
    eprintln!("Error: {}", text.trim_end());
    ExitCode::from(USAGE)
}
