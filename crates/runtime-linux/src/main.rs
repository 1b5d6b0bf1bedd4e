//! One container's virtual machine: its VMM, its devices, its standard streams.
//!
//! The helper boots the machine of its bundle as soon as it is started, serves `proto/runtime.proto` on the
//! bundle's socket, and ends when the container has ended. It outlives the apiserver that started it.

mod confinement;
mod container;
mod files;
mod life;
mod machine;
mod oci;
mod process;
mod request;
mod serve;
mod service;
mod standby;
mod stdio;

use std::ffi::CString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use container_api::handover::Assignment;
use container_api::lock::Lock;
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
        bundle: PathBuf,
        /// Container's id. The process has it as its name (`ps -o comm`), too.
        #[arg(long)]
        id: String,
        /// Log what happens in detail.
        #[arg(long)]
        debug: bool,
    },
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

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    container_api::roots::set_private_umask();
    let level = match command {
        Command::Start { debug: true, .. } | Command::Standby { debug: true, .. } => {
            tracing::Level::DEBUG
        }
        _ => tracing::Level::INFO,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    container_api::hardening::harden();
    let done = match command {
        Command::Start { bundle, id, .. } => run(bundle, &id),
        Command::Standby { .. } => stand_by(),
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

fn run(bundle: PathBuf, id: &str) -> anyhow::Result<()> {
    let bundle = Bundle::new(bundle);
    let listeners = container_api::inherited::listeners([&bundle.socket(), &bundle.descriptors()])
        .context("listen")?;
    let taps = container_api::inherited::further(listeners.len()).context("take the taps")?;
    let _lock = claim(&bundle, id)?;
    host(tokio_runtime()?, bundle, listeners, taps, None)
}

fn stand_by() -> anyhow::Result<()> {
    let runtime = tokio_runtime()?;
    let Some(assigned) = runtime.block_on(standby::wait())? else {
        return Ok(());
    };
    let Assignment { bundle, id } = assigned.assignment;
    let bundle = Bundle::new(bundle);
    let _lock = claim(&bundle, &id)?;
    runtime.block_on(standby::tell_taken(assigned.apiserver));
    rustix::stdio::dup2_stdin(&File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(&assigned.log)?;
    rustix::stdio::dup2_stderr(&assigned.log)?;
    drop(assigned.log);
    let standby = Some(assigned.standby);
    host(runtime, bundle, assigned.listeners, Vec::new(), standby)
}

/// Makes this process the helper of the container `id`.
fn claim(bundle: &Bundle, id: &str) -> anyhow::Result<Lock> {
    let lock = container_api::lock::acquire(&bundle.lock())
        .with_context(|| format!("container {id} has a runtime helper already"))?;
    // An apiserver that found its bundle without a holder of the lock has removed the sockets: nobody would ever
    // call this helper.
    anyhow::ensure!(
        bundle.socket().exists(),
        "container {id} was given up before its runtime helper began"
    );
    // One that waited was started for no container. The kernel keeps the first 15 bytes (prctl(2)).
    rustix::thread::set_name(&CString::new(id)?)?;
    Ok(lock)
}

/// Serves the container of `bundle`, whose machine gets the `taps`, until it has ended.
fn host(
    runtime: tokio::runtime::Runtime,
    bundle: Bundle,
    listeners: [UnixListener; 2],
    taps: Vec<OwnedFd>,
    standby: Option<machine::Standby>,
) -> anyhow::Result<()> {
    let served = runtime.block_on(serve::serve(bundle, listeners, taps, standby));
    // Threads that still wait for a client's terminal end with the process.
    runtime.shutdown_background();
    served
}

fn make_template() -> anyhow::Result<()> {
    let request = serde_json::from_reader(std::io::stdin().lock()).context("read the request")?;
    tokio_runtime()?
        .block_on(machine::make_template(&request))
        .context("make a template")
}

fn probe(cache: &Path) -> anyhow::Result<()> {
    let checks = tokio_runtime()?.block_on(machine::probe(cache));
    println!("{}", serde_json::to_string(&checks)?);
    Ok(())
}

fn tokio_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        // Before the helper confines itself, those that have worked are to be gone.
        .thread_keep_alive(std::time::Duration::from_millis(1))
        .enable_all()
        .build()
        .context("start tokio")
}
