//! The process of a network: it owns a namespace with a bridge, the addresses, the names, the ports and the way out.

mod command;
mod configuration;
mod leases;
mod ports;
mod serve;
mod service;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    command::Command::parse().run()
}
