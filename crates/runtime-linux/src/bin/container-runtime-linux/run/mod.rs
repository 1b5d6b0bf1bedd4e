//! `run`: a container from an OCI bundle, in the foreground, without an apiserver.
//!
//! This process reads the bundle, makes one of ours in a directory that is removed afterwards, and is the only client of the helper
//! that it starts for it. Its signals are the process's, and so are its standard streams.

mod client;
mod place;
mod signals;
mod terminal;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use container_api::Chain;
use container_api::guest_files::GuestFiles;
use container_api::roots::{self, Roots};
use container_resource::name;
use container_runtime_linux::{Host, OciBundle};

use crate::tokio_runtime;
use place::Place;

/// Exit code of what went wrong before there was a process, as podman and docker have it.
const FAILED: u8 = 125;

/// What is to be run.
#[derive(Debug, Args)]
pub struct Arguments {
    /// OCI bundle: a directory with config.json and the root file system that it names.
    #[arg(short = 'b', long, value_name = "DIRECTORY", default_value = ".")]
    oci_bundle: PathBuf,
    /// Where the container is kept while it runs; default: `oci` in the app root.
    #[arg(long, value_name = "DIRECTORY")]
    state: Option<PathBuf>,
    /// Guest kernel; default: the system's.
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Name of the container, unique in its state directory.
    id: String,
    /// Log what happens in detail.
    #[arg(long)]
    pub debug: bool,
}

/// Runs the container to its end; gives its exit code.
pub fn run(arguments: Arguments) -> ExitCode {
    match try_run(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("Error: {}", Chain(error.as_ref()));
            ExitCode::from(FAILED)
        }
    }
}

fn try_run(arguments: Arguments) -> anyhow::Result<u8> {
    name::validate(&arguments.id)?;
    let oci_bundle = OciBundle::open(&arguments.oci_bundle)?;
    for property in oci_bundle.unknown_properties() {
        eprintln!("Warning: config.json: `{property}` is not known and has no effect");
    }
    let roots = Roots::from_environment()?;
    let host = host(&roots, arguments.kernel)?;
    let state = arguments.state.unwrap_or_else(|| roots.app.join("oci"));
    let place = Place::take(&state, &arguments.id)?;
    oci_bundle.create(&arguments.id, place.bundle(), &host)?;
    let terminal = oci_bundle.has_terminal();
    let runtime = tokio_runtime()?;
    let ended = runtime.block_on(client::run(&place, terminal, arguments.debug));
    // A thread may still wait for a key.
    runtime.shutdown_background();
    ended
}

/// What machines are started with: what the system has, made or not.
fn host(roots: &Roots, kernel: Option<PathBuf>) -> anyhow::Result<Host> {
    let kernel = match kernel {
        None if !roots.default_kernel().exists() => Some(roots.packaged_kernel()),
        kernel => kernel,
    };
    let guest = GuestFiles::find(roots, kernel.as_deref())?;
    let cache = roots.cache();
    roots::create_private(&cache).with_context(|| format!("make {}", cache.display()))?;
    Ok(Host {
        kernel: std::path::absolute(guest.kernel)?,
        initramfs: guest.initramfs,
        has_modules: guest.has_modules,
        cache,
    })
}
