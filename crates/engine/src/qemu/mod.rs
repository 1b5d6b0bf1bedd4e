//! QEMU's `microvm` machine.

mod arguments;
pub(crate) mod binary;
pub(crate) mod device;
mod launch;
mod machine;
mod messages;
mod migration;
pub(crate) mod qmp;

use async_trait::async_trait;

use crate::device::Device;
use crate::engine::StartError;
use crate::identity::FileIdentity;
use crate::saving::RestoreError;
use crate::spec::{Accelerator, VmSpec};
use crate::vmm::{Capabilities, Conditions, Running, SavedMachine, Start, Vmm};
use arguments::Source;
use binary::Binary;
use device::place;

/// The QEMU of this host.
#[derive(Debug)]
pub(crate) struct Qemu {
    binary: Binary,
    /// What KVM's machines are run by, where that is another one.
    small: Option<Binary>,
}

impl Qemu {
    pub(crate) fn new(binary: Binary, small: Option<Binary>) -> Self {
        Self { binary, small }
    }

    fn binary(&self, accelerator: Accelerator) -> &Binary {
        match (accelerator, &self.small) {
            (Accelerator::Kvm, Some(small)) => small,
            _ => &self.binary,
        }
    }
}

#[async_trait]
impl Vmm for Qemu {
    fn describe(&self, accelerator: Accelerator) -> String {
        let binary = self.binary(accelerator);
        format!("QEMU {} ({})", binary.version, binary.path.display())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn identity(&self, accelerator: Accelerator) -> &FileIdentity {
        &self.binary(accelerator).identity
    }

    fn keeps_places(&self, devices: &[Device], saved: fn(&Device) -> bool) -> bool {
        place::keeps_places(devices, saved)
    }

    fn room_left(&self, devices: &[Device]) -> usize {
        place::room_left(devices)
    }

    async fn start(
        &self,
        spec: &VmSpec,
        start: Start,
        conditions: &Conditions,
    ) -> Result<Running, StartError> {
        let source = Source::Boot(start.boot, start.memory);
        let binary = self.binary(spec.accelerator);
        let launched = launch::launch(binary, spec, source, start.console, conditions)?;
        Ok(launched.answer(conditions.answer_limit).await?.into())
    }

    async fn restore(
        &self,
        spec: &VmSpec,
        saved: SavedMachine,
        conditions: &Conditions,
    ) -> Result<Running, RestoreError> {
        let failed = |error| RestoreError::Start(Box::new(error));
        let source = Source::Saved(saved.state, saved.memory);
        let binary = self.binary(spec.accelerator);
        let launched = launch::launch(binary, spec, source, saved.console, conditions);
        let launched = launched.map_err(failed)?;
        let state = launched.state;
        let answered = launched.answer(conditions.answer_limit).await;
        let answered = answered.map_err(failed)?;
        if let Some(number) = state {
            migration::load(&answered.machine.control, number)
                .await
                .map_err(RestoreError::State)?;
        }
        Ok(answered.into())
    }
}
