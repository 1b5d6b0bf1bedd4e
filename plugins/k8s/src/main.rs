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

fn main() -> ExitCode {
    match commands::Line::parse().execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
