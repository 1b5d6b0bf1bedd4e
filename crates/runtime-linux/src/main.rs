//! One container's virtual machine: its VMM, its devices, its standard streams.
//!
//! The helper boots the machine of its bundle as soon as it is started, serves `proto/runtime.proto` on the
//! bundle's socket, and ends when the container has ended. It outlives the apiserver that started it.

mod container;
mod files;
mod life;
mod machine;
mod oci;
mod process;
mod serve;
mod service;
mod stdio;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use container_resource::bundle::Bundle;

#[derive(Debug, Parser)]
#[command(
    name = "container-runtime-linux",
    version,
    about = "Runs one container in its own virtual machine"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boot the virtual machine of a bundle and serve its container until it ends.
    ///
    /// The bundle must hold config.json, options.json and boot.json. The helper serves runtime.sock and
    /// descriptors.sock there, or listeners that its parent opened (`CONTAINER_LISTEN_FDS=2`).
    Start {
        /// Bundle directory.
        #[arg(long)]
        root: PathBuf,
        /// Container's id; shown in process lists.
        #[arg(long)]
        uuid: String,
        /// Log what happens in detail.
        #[arg(long)]
        debug: bool,
    },
    /// Save a booted machine for later starts to begin from.
    ///
    /// Standard input is a JSON object: configuration (as config.json) and boot (as boot.json) of a container
    /// that would have used it.
    MakeTemplate,
    /// Print what this host starts machines with, as JSON: VMM, accelerator, and why.
    Probe {
        /// Directory that keeps slow answers until the next boot of the host.
        #[arg(long)]
        cache: PathBuf,
    },
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let level = match command {
        Command::Start { debug: true, .. } => tracing::Level::DEBUG,
        _ => tracing::Level::INFO,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let done = match command {
        Command::Start { root, uuid, .. } => run(root, &uuid),
        Command::MakeTemplate => make_template(),
        Command::Probe { cache } => probe(&cache),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(root: PathBuf, id: &str) -> anyhow::Result<()> {
    let bundle = Bundle::new(root);
    let listeners = container_api::inherited::listeners([&bundle.socket(), &bundle.descriptors()])
        .context("listen")?;
    let _lock = container_api::lock::acquire(&bundle.lock())
        .with_context(|| format!("container {id} has a runtime helper already"))?;
    // An apiserver that found its bundle without a holder of the lock has removed the sockets: nobody would ever
    // call this helper.
    anyhow::ensure!(
        bundle.socket().exists(),
        "container {id} was given up before its runtime helper began"
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start tokio")?;
    let served = runtime.block_on(serve::serve(bundle, listeners));
    // Threads that still wait for a client's terminal end with the process.
    runtime.shutdown_background();
    served
}

fn make_template() -> anyhow::Result<()> {
    let request = serde_json::from_reader(std::io::stdin().lock()).context("read the request")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start tokio")?;
    runtime
        .block_on(machine::make_template(&request))
        .context("make a template")
}

fn probe(cache: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start tokio")?;
    let probe = runtime.block_on(machine::probe(cache))?;
    println!("{}", serde_json::to_string(&probe)?);
    Ok(())
}
