//! Starting the apiserver as a daemon.

pub mod kernel;
pub mod modules;
mod spawn;

use std::time::Duration;

use anyhow::Context as _;
use container_api::api::PingRequest;
use container_api::api::system_client::SystemClient;
use container_api::roots::{Roots, set_private_umask};
use container_api::socket;

use crate::configuration;
use crate::connection::{Context, prompt};
use crate::failure::Failure;
use crate::output;

/// How long services that start by themselves may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the apiserver is to be started.
#[derive(Debug)]
pub struct Order {
    /// Whether the packaged kernel is installed.
    pub kernel: kernel::Answer,
    /// Whether a VMM must be confined, over what the configuration says.
    pub vmm_confinement: Option<&'static str>,
    /// It logs what happens in detail.
    pub debug: bool,
    /// How long it may take to answer.
    pub timeout: Duration,
}

/// Whether an apiserver answers.
pub async fn is_running(roots: &Roots) -> bool {
    match socket::connect(&roots.apiserver_socket()) {
        Ok(channel) => prompt(SystemClient::new(channel).ping(PingRequest {}))
            .await
            .is_ok(),
        Err(_) => false,
    }
}

/// Makes what the services need before they start: directories, a kernel, the copy of the configuration.
pub fn prepare(roots: &Roots, kernel: kernel::Answer) -> Result<(), Failure> {
    provide(roots, kernel)?;
    configuration::take(roots)
}

/// Starts the services unless they run. Whether they did not.
pub async fn bring_up(roots: &Roots, order: &Order) -> Result<bool, Failure> {
    provide(roots, order.kernel)?;
    if is_running(roots).await {
        return Ok(false);
    }
    configuration::take(roots)?;
    spawn::start(roots, order).await?;
    Ok(true)
}

/// Directories and a kernel.
fn provide(roots: &Roots, kernel: kernel::Answer) -> Result<(), Failure> {
    // What is made here is the system's, not the user's own files.
    set_private_umask();
    let made = roots.create();
    made.context("create the directories of the system")?;
    kernel::provide(roots, kernel)
}

/// Starts the services for a command that needs them, if they do not run and the configuration says so.
pub async fn start_for_command(context: &Context) -> Result<(), Failure> {
    let roots = &context.roots;
    if socket::open(&roots.apiserver_socket()).is_ok() {
        return Ok(());
    }
    let configuration = configuration::of_files(roots)?;
    if !configuration.settings().system.auto_start() {
        return Ok(());
    }
    let order = Order {
        kernel: kernel::Answer::Install,
        vmm_confinement: None,
        debug: context.debug,
        timeout: PATIENCE,
    };
    if bring_up(roots, &order).await? {
        output::tell("Started the container system service.");
    }
    Ok(())
}
