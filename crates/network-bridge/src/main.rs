//! The process of a network: it owns a namespace with a bridge, the addresses, the names, the ports and the way out.

mod bounds;
mod command;
mod configuration;
mod confinement;
mod conversations;
mod directory;
mod filter;
mod forwarding;
mod leases;
mod links;
mod names;
mod namespace;
mod netlink;
mod network;
mod ports;
mod probe;
mod ready;
mod refused_names;
mod relay;
mod resolved;
mod resolver;
mod serve;
mod service;
mod turn;
mod uplink;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    command::Command::parse().run()
}
