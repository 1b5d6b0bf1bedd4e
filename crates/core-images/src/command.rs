//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use container_api::log::{self, Target};
use tracing::Level;

use crate::layer::merge::{self, MergeArguments};
use crate::layer::worker::{self, WorkerArguments};
use crate::serve;

/// Serves images to the other processes of `container`.
///
/// It owns a content store, which is a plain OCI image layout under <app-root>/content, the registries'
/// credentials, and the unpacked layers that virtual machines read their root from. It answers gRPC on
/// <runtime-root>/images.sock (service container.images.v1.Images) and takes file descriptors for archives on
/// <runtime-root>/images-descriptors.sock.
#[derive(Debug, Parser)]
#[command(
    name = "container-core-images",
    version,
    disable_help_subcommand = true
)]
pub struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Serve until SIGTERM.
    Start(Start),
    /// Unpack one layer from standard input to standard output, shut in a sandbox.
    #[command(name = worker::CONVERT, hide = true)]
    UnpackLayer(WorkerArguments),
    /// Merge layers to standard output, shut in a sandbox.
    #[command(name = merge::MERGE, hide = true)]
    MergeLayers(MergeArguments),
}

/// Where the server keeps its things.
#[derive(Debug, Args)]
pub struct Start {
    /// Directory of the system's state.
    #[arg(long, env = "CONTAINER_APP_ROOT")]
    pub app_root: PathBuf,
    /// Directory of the sockets; not used when they are inherited (`CONTAINER_LISTEN_FDS=2`).
    #[arg(long)]
    pub runtime_root: PathBuf,
    /// The installed prefix, which may hold a configuration; the one that this program lies in unless given.
    #[arg(long, env = "CONTAINER_INSTALL_ROOT")]
    pub install_root: Option<PathBuf>,
    /// Log more.
    #[arg(long, env = "CONTAINER_DEBUG")]
    pub debug: bool,
}

impl Command {
    /// Does what was asked for.
    pub fn run(self) -> ExitCode {
        match self.action {
            Action::UnpackLayer(arguments) => worker::run(arguments),
            Action::MergeLayers(arguments) => merge::run(arguments),
            Action::Start(start) => {
                container_api::roots::set_private_umask();
                let level = if start.debug {
                    Level::DEBUG
                } else {
                    Level::INFO
                };
                log::begin("container-core-images", Target::inherited(), level);
                container_api::hardening::harden();
                match serve::run(&start) {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(error) => {
                        tracing::error!("{error:#}");
                        ExitCode::FAILURE
                    }
                }
            }
        }
    }
}
