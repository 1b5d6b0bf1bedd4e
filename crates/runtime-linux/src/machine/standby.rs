//! A machine that was started before it is known what for: restored, rehearsed, stopped.

use std::os::fd::OwnedFd;
use std::time::Duration;

use container_api::guest_channel::Guest;
use container_api::{Error, Kind};
use container_engine::{Device, Disk, Engine, Vm, VmSpec};
use container_resource::bundle::{Interface, VolumeDisk};

use super::nics::{add_spare, nics};
use super::rehearsal::{Stage, rehearse};
use super::template::{self, Resolved, SETTLED, TemplateRequest};
use super::{Machine, Origin, Volume, describe};

/// How long it may take to hand a machine over. Another one boots in that time.
const TAKE_LIMIT: Duration = Duration::from_secs(2);

/// A machine whose guest waits for its first request.
#[derive(Debug)]
pub struct Standby {
    engine: Engine,
    vm: Vm,
    guest: Guest,
    /// What it was started as.
    shape: VmSpec,
    key: String,
    /// What stands for its boot in the log of its console.
    boot: Vec<u8>,
    settled: bool,
}

impl Standby {
    /// Prepares a machine for containers like the one of `request`. It has the request's network interfaces from the
    /// beginning, whose `taps` need not be on a network yet.
    ///
    /// # Errors
    /// When there is no template for it, or it does not pass its rehearsal.
    pub async fn prepare(request: &TemplateRequest, taps: Vec<OwnedFd>) -> Result<Self, Error> {
        let Resolved {
            engine,
            mut shape,
            key,
            directory,
        } = request.resolve(taps).await?;
        if !engine.capabilities().disk_exchange {
            let text = format!("{} exchanges no disks", engine.vmm());
            return Err(Error::new(Kind::Unsupported, text));
        }
        let saved = engine.open_template(&directory, &shape).map_err(internal)?;
        shape.devices.extend(volumes(&request.boot.volumes));
        if let Some(reason) = engine.excluded_from_templates(&shape) {
            return Err(internal(reason));
        }
        add_spare(&engine, &mut shape);
        let stage = Stage::build(&shape, &request.boot.cache)
            .map_err(|error| internal(error).context("make the disks of the rehearsal"))?;
        let started = template::start(&engine, &saved, &stage.furnish(&shape)).await;
        let Machine { mut vm, guest, .. } =
            started.inspect_err(|_| template::discard(&directory))?;
        rehearse(
            &guest,
            &request.configuration,
            &request.boot.volumes,
            &request.boot.interfaces,
        )
        .await
        .map_err(|error| error.context("rehearse"))?;
        // Whoever takes the machine is in a hurry, and has nothing to close then.
        let cleared = vm.exchange_disks(shape.disks()).await;
        cleared.map_err(internal)?;
        let closed = vm.close_exchanged_disks().await;
        closed.map_err(internal)?;
        Ok(Self {
            engine,
            vm,
            guest,
            shape,
            key,
            boot: template::boot_of(&saved),
            settled: false,
        })
    }

    /// Key of the template that it was started from.
    pub fn template(&self) -> &str {
        &self.key
    }

    /// Makes it one of another shape.
    #[cfg(test)]
    pub(crate) fn forget_its_key(&mut self) {
        self.key.clear();
    }

    /// The devices of `interfaces`, which have the taps that the machine has.
    ///
    /// # Errors
    /// When it has more or fewer.
    pub fn nics(&self, interfaces: &[Interface]) -> Result<Vec<Device>, Error> {
        let taps: Result<_, _> = self.shape.nics().map(|nic| nic.tap.try_clone()).collect();
        nics(
            interfaces,
            taps.map_err(|error| Error::caused(Kind::Internal, error))?,
            self.engine.accelerator(),
        )
    }

    /// What the machine was started with.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Lets the guest do what it has put off, stops it, and waits for its end, which nothing but a fault brings about.
    /// May be cancelled at any time.
    pub async fn stand(&mut self) -> Error {
        tokio::time::sleep(SETTLED).await;
        self.settled = true;
        if let Err(error) = self.vm.pause().await {
            return Error::caused(Kind::Internal, error);
        }
        Error::new(Kind::Internal, describe(self.vm.wait().await))
    }

    /// Makes it the machine of `spec`.
    ///
    /// # Errors
    /// When it is of another shape, or does not take the disks. It is ended then.
    pub async fn take(mut self, spec: &VmSpec) -> Result<Machine, Error> {
        // A machine that cannot be restored cannot be this one, which was.
        let same =
            self.engine.excluded_from_templates(spec).is_none() && spec.has_devices_of(&self.shape);
        if !same || template::key(&self.engine, spec)? != self.key {
            let text = "it was prepared for another shape";
            return Err(Error::new(Kind::InvalidState, text));
        }
        if let Some(console) = spec.console_record() {
            let recorded = self.vm.record_console(console);
            recorded.map_err(|error| internal(error).context("record the console"))?;
            self.vm.note_on_console(&self.boot);
        }
        let handed_over = async {
            if self.settled {
                self.vm.resume().await.map_err(internal)?;
            }
            let exchanged = self.vm.exchange_disks(spec.disks()).await;
            exchanged.map_err(internal)
        };
        tokio::time::timeout(TAKE_LIMIT, handed_over)
            .await
            .map_err(|_| Error::new(Kind::Timeout, "its VMM does not answer"))??;
        Ok(Machine {
            vm: self.vm,
            guest: self.guest,
            shares: None,
            origin: Origin::Standby,
        })
    }
}

fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::caused(Kind::Internal, error)
}

/// Disks in whose place those of `volumes` can be put.
fn volumes(volumes: &[VolumeDisk]) -> impl Iterator<Item = Device> {
    let numbered = volumes.iter().enumerate();
    numbered.map(|(number, volume)| {
        let role = Volume::role(number);
        Device::Disk(Disk::empty(role, volume.size, volume.read_only))
    })
}
