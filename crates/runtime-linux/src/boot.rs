//! From a bundle to a machine whose guest has announced itself.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use container_api::{Error, Kind};
use container_engine::{Disk, Engine, Extent, FindVmmError, StartError, Vm, VmExit, VmSpec};
use container_resource::bundle::{Boot, Bundle, Timeline};
use container_resource::container::{ContainerConfiguration, MountKind};
use tokio::net::UnixStream;

use crate::guest::{self, Guest};
use crate::hello::{self, Hello};
use crate::upper;

/// Name of the virtio-serial port that carries the guest channel.
const GUEST_CHANNEL: &str = "container.guest";
/// How long a guest may take to announce itself. A loaded machine under TCG needs seconds.
const HELLO_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the end of a VMM may take to be seen after its guest was lost.
pub const LOST_TIMEOUT: Duration = Duration::from_secs(1);
/// Guest memory beside the container's, in bytes: kernel, vminitd and the page cache of the root.
const MEMORY_OVERHEAD: u64 = 128 << 20;
/// Memory is given in these steps, in bytes.
const MEMORY_STEP: u64 = 1 << 20;
/// The kernel's part of the command line that does not depend on the machine (kernel-parameters.txt).
const COMMAND_LINE: &str = "quiet panic=-1 oops=panic";

/// A machine whose guest waits for its first request.
#[derive(Debug)]
pub struct Machine {
    /// The machine.
    pub vm: Vm,
    /// Calls into its guest.
    pub guest: Guest,
    /// When the guest announced itself.
    pub announced: Announced,
}

/// The guest's first words, and when they were heard.
#[derive(Clone, Copy, Debug)]
pub struct Announced {
    /// What the guest said of its start.
    pub hello: Hello,
    /// Host's time of the hello, microseconds since the epoch.
    pub at_us: i64,
}

/// Boots the machine of `bundle`.
pub async fn boot(
    bundle: &Bundle,
    configuration: &ContainerConfiguration,
    boot: &Boot,
    timeline: &mut Timeline,
) -> Result<Machine, Error> {
    let size = configuration
        .resources
        .storage
        .unwrap_or(upper::DEFAULT_SIZE);
    upper::prepare(&bundle.upper(), size, &boot.cache).map_err(|error| {
        let kind = if is_full(&error) {
            Kind::Exhausted
        } else {
            Kind::Internal
        };
        Error::chain(kind, &error).context("make the writable layer")
    })?;
    timeline.reached("upper ready");

    let engine = Engine::open(&boot.cache)
        .await
        .map_err(|error| find_error(&error))?;
    let spec = spec(bundle, configuration, boot, size, &engine)?;
    timeline.reached("engine ready");
    let mut vm = engine
        .start(&spec)
        .await
        .map_err(|error| start_error(&error))?;
    timeline.reached("VMM running");
    let channel = vm
        .take_channel()
        .ok_or_else(|| Error::new(Kind::Internal, "the guest channel was taken"))?;
    announced(bundle, vm, channel).await
}

/// Waits for the guest's first words.
async fn announced(bundle: &Bundle, mut vm: Vm, mut channel: UnixStream) -> Result<Machine, Error> {
    let hello = tokio::select! {
        hello = tokio::time::timeout(HELLO_TIMEOUT, hello::read(&mut channel)) => hello,
        exit = vm.wait() => return Err(ended_early(exit)),
    };
    let at_us = jiff::Timestamp::now().as_microsecond();
    let error = match hello {
        Ok(Ok(hello)) => {
            return Ok(Machine {
                vm,
                guest: guest::connect(channel),
                announced: Announced { hello, at_us },
            });
        }
        Ok(Err(error)) => match tokio::time::timeout(LOST_TIMEOUT, vm.wait()).await {
            Ok(exit) => ended_early(exit),
            Err(_) => Error::chain(Kind::Internal, &error),
        },
        Err(_) => {
            let text = format!(
                "the guest did not announce itself within {} s",
                HELLO_TIMEOUT.as_secs()
            );
            Error::new(Kind::Timeout, text)
        }
    };
    end(&mut vm).await;
    Err(error.with_hint(format!(
        "The guest's console is in {}.",
        bundle.boot_log().display()
    )))
}

/// Ends the machine and waits until it has.
pub async fn end(vm: &mut Vm) {
    if let Err(error) = vm.kill() {
        tracing::warn!("cannot kill the VMM: {error}");
    }
    if let Err(error) = vm.wait().await {
        tracing::warn!("cannot wait for the VMM: {error}");
    }
}

fn ended_early(exit: std::io::Result<VmExit>) -> Error {
    Error::new(
        Kind::Internal,
        format!("{} while it booted", describe(exit)),
    )
}

/// How a machine ended, in words.
pub fn describe(exit: std::io::Result<VmExit>) -> String {
    match exit {
        Ok(exit) => format!("the virtual machine ended: {exit}"),
        Err(error) => format!("the virtual machine cannot be watched: {error}"),
    }
}

fn spec(
    bundle: &Bundle,
    configuration: &ContainerConfiguration,
    boot: &Boot,
    upper_size: u64,
    engine: &Engine,
) -> Result<VmSpec, Error> {
    if let Some(mount) = configuration
        .mounts
        .iter()
        .find(|mount| mount.kind != (MountKind::Tmpfs {}))
    {
        let text = format!(
            "{}: this runtime mounts nothing but tmpfs",
            mount.destination
        );
        return Err(Error::new(Kind::Unsupported, text));
    }
    let size = &configuration.resources;
    let vcpus = NonZeroU32::new(size.cpus + size.cpu_overhead)
        .ok_or_else(|| Error::new(Kind::InvalidArgument, "a container needs at least one CPU"))?;
    let extents = boot
        .root
        .extents
        .iter()
        .map(|extent| Extent {
            path: extent.path.clone(),
            offset: extent.offset,
            length: extent.length,
        })
        .collect();
    let root = Disk {
        extents,
        size: boot.root.size,
        read_only: true,
    };
    let mut command_line = String::from(COMMAND_LINE);
    for word in &configuration.kernel_arguments {
        command_line.push(' ');
        command_line.push_str(word);
    }
    Ok(VmSpec {
        kernel: configuration
            .kernel
            .as_ref()
            .map_or_else(|| boot.kernel.clone(), PathBuf::from),
        initramfs: boot.initramfs.clone(),
        command_line,
        vcpus,
        memory_bytes: (size.memory_in_bytes + MEMORY_OVERHEAD).next_multiple_of(MEMORY_STEP),
        disks: vec![root, Disk::writable(&bundle.upper(), upper_size)],
        guest_channel: GUEST_CHANNEL.to_owned(),
        console: Some(bundle.boot_log()),
        accelerator: engine.accelerator(),
        nested_virtualization: configuration.virtualization,
    })
}

fn find_error(error: &FindVmmError) -> Error {
    Error::chain(Kind::Unsupported, error)
        .with_hint("Install QEMU 7.2 or newer: `apt-get install qemu-system-x86`.")
}

fn start_error(error: &StartError) -> Error {
    let kind = match error {
        StartError::Memory { .. } | StartError::Vcpus { .. } | StartError::Kernel { .. } => {
            Kind::InvalidArgument
        }
        StartError::Silent(_) => Kind::Timeout,
        error if is_full(error) => Kind::Exhausted,
        _ => Kind::Internal,
    };
    Error::chain(kind, error)
}

/// Whether a full disk is at the bottom of `error`.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let full = error.downcast_ref::<std::io::Error>().is_some_and(|error| {
        matches!(
            error.kind(),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
        )
    });
    full || error.source().is_some_and(is_full)
}
