//! See the library.

use std::process::ExitCode;

use clap::Parser;
use container_core_images::command::Command;

fn main() -> ExitCode {
    Command::parse().run()
}
