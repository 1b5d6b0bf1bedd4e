//! From a bundle to a machine whose guest has announced itself.

use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::time::Duration;

use container_api::guest_channel::Guest;
use container_api::{Error, Kind, hello};
use container_engine::{Device, ExitCause, SpawnError, StartError, Vm, VmExit};
use container_ext4::DiskError;
use container_resource::bundle::{Boot, Bundle, Timeline};
use container_resource::container::{ContainerConfiguration, Resources};
use container_resource::size;
use jiff::Timestamp;
use tokio::net::UnixStream;

use super::nics::{add_spare, nics};
use super::{
    Booted, Host, LOST_TIMEOUT, Machine, Origin, Room, Shares, Standby, Taken, describe, end, spec,
    template,
};
use crate::limits::limit;
use crate::sockets::HostSockets;

/// What mends a host that cannot confine a VMM.
const UNCONFINED: &str = "Allow user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns), \
     or use a kernel with Landlock. To start containers all the same: container system start --vmm-confinement optional";

/// How long a guest may take to announce itself. A loaded machine without KVM needs seconds.
pub const HELLO_TIMEOUT: Duration = limit(60);

/// How a machine is to come into being. What does not work falls back on what comes before it.
#[derive(Debug)]
pub enum Way {
    /// Its kernel is booted.
    Cold,
    /// From a template where one fits.
    Template,
    /// This one, if it fits.
    Standby(Box<Standby>),
}

/// Starts the machine of `bundle`, with the `taps` of its network interfaces, and confines this process before the guest says anything that it could have made up.
pub async fn boot(
    host: &Host,
    bundle: &Bundle,
    configuration: &ContainerConfiguration,
    boot: &Boot,
    taps: Vec<OwnedFd>,
    way: Way,
    timeline: &mut Timeline,
) -> Result<Booted, Error> {
    // Nothing of the host's is to be seen where the container's own files are wanted.
    let shares = if boot.idle {
        None
    } else {
        Shares::start(bundle, configuration)?
    };
    let sockets = if boot.idle {
        None
    } else {
        HostSockets::start(configuration, boot).await?
    };
    let volumes = Taken::take(configuration).await?;
    container_ext4::prepare(
        &bundle.upper(),
        &spec::upper_format(configuration),
        &boot.cache,
    )
    .map_err(|error| {
        let kind = match error {
            DiskError::TooLarge { .. } => Kind::InvalidArgument,
            _ if is_full(&error) => Kind::Exhausted,
            _ => Kind::Internal,
        };
        Error::caused(kind, error).context("make the writable layer")
    })?;
    timeline.reached("upper ready");
    let engine = match &way {
        Way::Standby(standby) => standby.engine().clone(),
        Way::Cold | Way::Template => host.engine(boot).await?,
    };
    let mut spec = spec::spec(bundle, configuration, boot, &engine, &volumes.disks)?;
    spec.devices.extend(match &way {
        // Those that it has are the only ones.
        Way::Standby(standby) => standby.nics(&boot.interfaces)?,
        Way::Cold | Way::Template => nics(&boot.interfaces, taps, engine.accelerator())?,
    });
    timeline.reached("engine ready");
    let shares = match shares {
        Some(starting) => {
            let (shares, devices) = starting.ready().await?;
            spec.devices.extend(devices.into_iter().map(Device::Share));
            timeline.reached("shares ready");
            Some(shares)
        }
        None => None,
    };
    let sockets = match sockets {
        Some(starting) => {
            let sockets = starting.ready().await?;
            timeline.reached("sockets ready");
            Some(sockets)
        }
        None => None,
    };
    let room = Room::of(&spec)
        .inspect_err(|error| tracing::warn!("cannot tell what is free on the host: {error:#}"))
        .ok();
    let use_template = !matches!(way, Way::Cold) && engine.excluded_from_templates(&spec).is_none();
    // A kernel that boots would find them, and be slower.
    let mut restored = spec.clone();
    add_spare(&engine, &mut restored);
    if let (Way::Standby(standby), true) = (way, use_template) {
        match standby.take(&restored).await {
            Ok(machine) => {
                timeline.reached("standby taken");
                return shut_in(host, machine, bundle, boot, volumes, sockets, room);
            }
            Err(error) => tracing::warn!("the standby machine is of no use: {error:#}"),
        }
    }
    if use_template {
        if let Some(machine) = template::restore(&engine, &restored, &boot.cache, timeline).await {
            return shut_in(host, machine, bundle, boot, volumes, sockets, room);
        }
    }
    let mut vm = engine.start(&spec).await.map_err(|error| {
        out_of_bounds(&error, &configuration.resources).unwrap_or_else(|| start_error(error))
    })?;
    let spawned = Timestamp::now() - vm.moments().spawned.elapsed();
    timeline.reached_at("VMM spawned", spawned.as_microsecond());
    timeline.reached("VMM running");
    if let Some(shares) = &shares {
        shares.join(&mut vm)?;
    }
    let memory = host.confine(&vm, bundle, boot)?;
    let channel = vm
        .take_channel()
        .ok_or_else(|| Error::new(Kind::Internal, "the guest channel was taken"))?;
    let machine = announced(vm, channel, shares, use_template)
        .await
        .map_err(|error| match &configuration.init_image {
            Some(image) => init_error(error, &image.reference),
            None => error,
        })?;
    timeline.reached("guest announced itself");
    Ok(Booted {
        machine,
        memory,
        volumes,
        sockets,
        room,
    })
}

fn shut_in(
    host: &Host,
    machine: Machine,
    bundle: &Bundle,
    boot: &Boot,
    volumes: Taken,
    sockets: Option<HostSockets>,
    room: Option<Room>,
) -> Result<Booted, Error> {
    let memory = host.confine(&machine.vm, bundle, boot)?;
    Ok(Booted {
        machine,
        memory,
        volumes,
        sockets,
        room,
    })
}

/// Waits for the guest's first words.
async fn announced(
    mut vm: Vm,
    mut channel: UnixStream,
    shares: Option<Shares>,
    template_wanted: bool,
) -> Result<Machine, Error> {
    let hello = tokio::select! {
        hello = tokio::time::timeout(HELLO_TIMEOUT, hello::read(&mut channel)) => hello,
        exit = vm.wait() => return Err(ended_early(exit)),
    };
    let error = match hello {
        Ok(Ok(hello)) => match Guest::connect(channel).await {
            Ok(guest) => {
                return Ok(Machine {
                    vm,
                    guest,
                    shares,
                    origin: Origin::Cold {
                        hello,
                        template_wanted,
                    },
                });
            }
            Err(error) => Error::caused(Kind::Internal, error),
        },
        Ok(Err(error)) => match tokio::time::timeout(LOST_TIMEOUT, vm.wait()).await {
            Ok(exit) => ended_early(exit),
            Err(_) => Error::caused(Kind::Internal, error),
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
    // A container that was made by `run` is gone by the time its user reads this.
    Err(error.with_hint(
        "`container create` and `container start` keep the guest's console: see `container logs --boot`.",
    ))
}

fn ended_early(exit: std::io::Result<VmExit>) -> Error {
    let last_words = match &exit {
        // vminitd says why it switches the machine off. The others have their words already.
        Ok(exit) if exit.cause == ExitCause::Guest => exit.explanation.last().cloned(),
        _ => None,
    };
    let mut text = format!("while it booted, {}", describe(exit));
    if let Some(line) = last_words {
        text.push_str(": ");
        text.push_str(&line);
    }
    Error::new(Kind::Internal, text)
}

/// The guest of an init image did not come up.
fn init_error(error: Error, reference: &str) -> Error {
    let hint = "An init image holds the guest's init as /sbin/vminitd, and the directories dev, proc, run and sys. \
                `container create` and `container start` keep the guest's console: see `container logs --boot`.";
    error
        .context(format_args!("boot from the init image {reference}"))
        .with_hint(hint)
}

/// The host has not what was asked for: told in the figures of the container's configuration, of which the machine's are made.
fn out_of_bounds(error: &StartError, asked: &Resources) -> Option<Error> {
    let text = match error {
        StartError::Vcpus { limit, .. } => {
            let host = std::thread::available_parallelism().map_or(1, NonZero::get);
            format!(
                "{} CPUs: this host has {host} CPUs, and a container may have at most {limit} vCPUs on it",
                asked.cpus
            )
        }
        StartError::Memory { limit, .. } => {
            let host = limit.saturating_mul(size::MIB);
            let most = host.saturating_sub(spec::MEMORY_OVERHEAD);
            format!(
                "memory of {}: a container may have from {} to {} on this host, which has {} MiB in all",
                size::memory(asked.memory_in_bytes),
                size::memory(size::MINIMUM_MEMORY),
                mib(most),
                limit
            )
        }
        _ => return None,
    };
    Some(Error::new(Kind::InvalidArgument, text))
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes / size::MIB)
}

/// The VMM did not start.
pub fn start_error(error: StartError) -> Error {
    let kind = match &error {
        StartError::Memory { .. } | StartError::Vcpus { .. } | StartError::Kernel { .. } => {
            Kind::InvalidArgument
        }
        StartError::Lacking { .. } => Kind::Unsupported,
        StartError::Silent(_) => Kind::Timeout,
        error if is_full(error) => Kind::Exhausted,
        _ => Kind::Internal,
    };
    let unconfined = matches!(
        &error,
        StartError::Spawn {
            source: SpawnError::NotConfined(_),
            ..
        }
    );
    let error = Error::caused(kind, error);
    if unconfined {
        error.with_hint(UNCONFINED)
    } else {
        error
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_has_not_is_told_in_the_figures_of_the_flags() {
        let asked = Resources {
            cpus: 999,
            nano_cpus: None,
            memory_in_bytes: 1 << 50,
            storage: None,
            journal: None,
            cpu_overhead: 0,
        };
        let vcpus = StartError::Vcpus {
            requested: 999,
            limit: 4,
        };
        let host = std::thread::available_parallelism().unwrap();
        assert_eq!(
            out_of_bounds(&vcpus, &asked).unwrap().message(),
            format!(
                "999 CPUs: this host has {host} CPUs, and a container may have at most 4 vCPUs on it"
            )
        );
        let memory = StartError::Memory {
            requested: (1 << 50) + spec::MEMORY_OVERHEAD,
            limit: 2048,
        };
        assert_eq!(
            out_of_bounds(&memory, &asked).unwrap().message(),
            "memory of 1 PiB: a container may have from 200 MiB to 1920 MiB on this host, which has 2048 MiB in all"
        );
    }
}
