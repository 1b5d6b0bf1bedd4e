//! The process of a machine's shares: it serves directories and files of the host to one guest.

mod clone;
mod command;
mod identity;
mod mount;
mod namespaces;
mod privileges;
mod request;
mod root;
mod serve;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    command::Command::parse().run()
}
