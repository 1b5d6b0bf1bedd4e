//! The process of a machine's shares.

use std::process::ExitCode;

use clap::Parser;
use container_share_virtiofs::command::Command;

fn main() -> ExitCode {
    Command::parse().run()
}
