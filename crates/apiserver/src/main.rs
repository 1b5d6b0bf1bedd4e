//! Owns the containers; starts and watches the helper processes.

mod auxiliary;
mod builders;
mod containers;
mod daemon;
mod disk_usage;
mod dot_names;
mod events;
mod images;
mod logs;
mod machines;
mod manager;
mod metrics;
mod networks;
mod plugin;
mod reserve;
mod service;
mod shutdown;
mod sockets;
mod standby;
mod templates;
mod thread;
mod trouble;
mod volumes;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use container_api::log::{self, Target};
use container_api::roots::{self, Roots};
use container_resource::settings::VmmConfinement;
use tracing::Level;

use crate::sockets::Inherited;

#[derive(Debug, Parser)]
#[command(
    name = "container-apiserver",
    version,
    about = "Serves the container command: containers and their helpers"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve in the foreground until `container system stop`, SIGTERM or SIGINT.
    ///
    /// `container system start` runs this as a daemon. Containers outlive it: the next apiserver of the
    /// same app root takes them over. `CONTAINER_READY_FD` may name a descriptor that receives one byte when
    /// the sockets are served. A service manager may listen for it (`LISTEN_FDS`) and is told when it serves, ends and works
    /// (`NOTIFY_SOCKET`, `WATCHDOG_USEC`).
    Start {
        /// State: images, containers, kernels.
        #[arg(long)]
        app_root: Option<PathBuf>,
        /// Installed prefix, with the helpers in libexec and the guest's files in share.
        #[arg(long)]
        install_root: Option<PathBuf>,
        /// Log files.
        #[arg(long)]
        log_root: Option<PathBuf>,
        /// Whether a VMM must be confined, over what the configuration says.
        #[arg(long, value_parser = vmm_confinement)]
        vmm_confinement: Option<VmmConfinement>,
        /// Log what happens in detail.
        #[arg(long)]
        debug: bool,
    },
}

fn main() -> ExitCode {
    let Command::Start {
        app_root,
        install_root,
        log_root,
        vmm_confinement,
        debug,
    } = Arguments::parse().command;
    roots::set_private_umask();
    let roots = find(app_root, install_root, log_root);
    let level = if debug { Level::DEBUG } else { Level::INFO };
    // Whoever names a directory for logs has them there.
    let target = match &roots {
        Ok(roots) if !roots.log_is_named => Target::of_host(&roots.app),
        _ => Target::Lines,
    };
    log::begin("container-apiserver", target, level);
    container_api::hardening::harden();
    // Before anything is opened.
    let sockets = match Inherited::take().context("take the sockets of the service manager") {
        Ok(sockets) => sockets,
        Err(error) => {
            tracing::error!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    match roots.and_then(|roots| run(roots, sockets, vmm_confinement, debug)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The directories of the environment, where no argument names others.
fn find(
    app: Option<PathBuf>,
    install: Option<PathBuf>,
    log: Option<PathBuf>,
) -> anyhow::Result<Roots> {
    let roots = Roots::from_environment().context("find the directories")?;
    // The environment's directory of logs belongs to its app root.
    let named = (roots.log_is_named && app.is_none()).then(|| roots.log.clone());
    Roots::new(
        app.unwrap_or(roots.app),
        install.unwrap_or(roots.install),
        log.or(named),
    )
    .context("find the directories")
}

fn run(
    roots: Roots,
    sockets: Inherited,
    vmm_confinement: Option<VmmConfinement>,
    debug: bool,
) -> anyhow::Result<()> {
    roots.create().context("create the directories")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start tokio")?;
    runtime.block_on(daemon::serve(roots, sockets, vmm_confinement, debug))
}

fn vmm_confinement(word: &str) -> Result<VmmConfinement, String> {
    match word {
        "required" => Ok(VmmConfinement::Required),
        "optional" => Ok(VmmConfinement::Optional),
        _ => Err("required or optional".to_owned()),
    }
}
