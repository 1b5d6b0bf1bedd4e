//! One container's virtual machine: its VMM, its devices, its standard streams. Each subcommand is a thin front end of the library.

mod helper;
mod probe;
mod run;
mod sockets;
mod standby;
mod template;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use container_api::log::{self, Target};
use container_api::request::RequestId;
use container_resource::creation::DEFAULT_RUNTIME;

#[derive(Debug, Parser)]
#[command(
    name = DEFAULT_RUNTIME,
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
        bundle: PathBuf,
        /// Container's id. The process has it as its name (`ps -o comm`), too.
        #[arg(long)]
        id: String,
        /// Log what happens in detail.
        #[arg(long)]
        debug: bool,
    },
    /// Run a container from an OCI bundle in the foreground, without a daemon.
    ///
    /// The process has this one's standard streams and signals; its exit code is this one's. 125 is an error before there was a process.
    /// What config.json asks for and a machine cannot do is an error that names it. The container has no network.
    Run(run::Arguments),
    /// Prepare a machine, and wait with it for a container that needs one like it.
    ///
    /// What is prepared, and which container it is for, is said on standard input, a socket
    /// (crates/api/src/handover.rs). Its end ends the helper.
    Standby {
        /// App root of the system that it is for; shown in process lists.
        #[arg(long)]
        app_root: PathBuf,
        /// Log what happens in detail.
        #[arg(long)]
        debug: bool,
    },
    /// Hold the host's Unix sockets of one container for its runtime helper, which cannot reach them itself.
    ///
    /// Standard input is a socket, on which the helper says what for; its end ends this process.
    KeepSockets,
    /// Save a booted machine for later starts to begin from.
    ///
    /// Standard input is a JSON object: configuration (as config.json) and boot (as boot.json) of a container
    /// that would have used it.
    MakeTemplate,
    /// Print what this host starts machines with, as JSON: lines of `container system doctor`.
    Probe {
        /// Directory that keeps slow answers until the next boot of the host.
        #[arg(long)]
        cache: PathBuf,
    },
}

impl Command {
    fn log_level(&self) -> tracing::Level {
        match self {
            Self::Start { debug: true, .. }
            | Self::Standby { debug: true, .. }
            | Self::Run(run::Arguments { debug: true, .. }) => tracing::Level::DEBUG,
            _ => tracing::Level::INFO,
        }
    }

    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Start { bundle, id, .. } => helper::run(bundle, &id)?,
            Self::Run(arguments) => return Ok(run::run(arguments)),
            Self::Standby { .. } => standby::run()?,
            Self::KeepSockets => sockets::run()?,
            Self::MakeTemplate => template::run()?,
            Self::Probe { cache } => probe::run(&cache)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    container_api::roots::set_private_umask();
    RequestId::inherit();
    log::begin(DEFAULT_RUNTIME, Target::inherited(), command.log_level());
    container_api::hardening::harden();
    match command.run() {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tokio_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        // Before the helper confines itself, those that have worked are to be gone.
        .thread_keep_alive(std::time::Duration::from_millis(1))
        .enable_all()
        .build()
        .context("start tokio")
}
