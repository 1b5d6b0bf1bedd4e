//! `start`: the helper of one container. It boots the machine of its bundle as soon as it is started, serves `proto/runtime.proto` on
//! the bundle's socket, and ends when the container has ended. It outlives the apiserver that started it.

mod serve;
mod service;
mod stdio;

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use anyhow::Context;
use container_api::lock::Lock;
use container_resource::bundle::Bundle;
use container_runtime_linux::Standby;
use tokio::runtime::Runtime;

use crate::tokio_runtime;

/// Runs the container `id` of `bundle` to its end.
pub fn run(bundle: PathBuf, id: &str) -> anyhow::Result<()> {
    let bundle = Bundle::new(bundle);
    let listeners = container_api::inherited::listeners([&bundle.socket(), &bundle.descriptors()])
        .context("listen")?;
    let taps = container_api::inherited::further(listeners.len()).context("take the taps")?;
    let _lock = claim(&bundle, id)?;
    host(tokio_runtime()?, bundle, listeners, taps, None)
}

/// Makes this process the helper of the container `id`.
pub fn claim(bundle: &Bundle, id: &str) -> anyhow::Result<Lock> {
    let lock = container_api::lock::acquire(&bundle.lock())
        .with_context(|| format!("container {id} has a runtime helper already"))?;
    // An apiserver that found its bundle without a holder of the lock has removed the sockets: nobody would ever
    // call this helper.
    anyhow::ensure!(
        bundle.socket().exists(),
        "container {id} was given up before its runtime helper began"
    );
    container_api::log::set_container(id);
    // One that waited was started for no container. The kernel keeps the first 15 bytes (prctl(2)).
    rustix::thread::set_name(&CString::new(id)?)?;
    Ok(lock)
}

/// Serves the container of `bundle`, whose machine gets the `taps`, until it has ended.
pub fn host(
    runtime: Runtime,
    bundle: Bundle,
    listeners: [UnixListener; 2],
    taps: Vec<OwnedFd>,
    standby: Option<Standby>,
) -> anyhow::Result<()> {
    let served = runtime.block_on(serve::serve(bundle, listeners, taps, standby));
    // Threads that still wait for a client's terminal end with the process.
    runtime.shutdown_background();
    served
}
