//! Saves a machine as a template, and starts machines from it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use tokio::task::JoinError;

use crate::console::BoundedFile;
use crate::engine::{Engine, StartError, check, create_console};
use crate::spec::VmSpec;
use crate::template::devices::{Exclusion, is_saved};
use crate::template::shape::Shape;
use crate::template::{self, OpenTemplateError, Template, memory};
use crate::vm::Vm;
use crate::vmm::{ControlError, Memory, SavedMachine, Start};

/// A machine that runs only to be saved.
#[derive(Debug)]
pub struct Saveable {
    /// The machine. Its disks are empty, so its guest must not mount them.
    pub vm: Vm,
    memory: OwnedFd,
    /// What its guest says, from the beginning.
    console: OwnedFd,
    shape: Shape,
}

/// Why a machine could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The VMM did not write its state.
    #[error("the VMM did not save its state")]
    State(#[source] ControlError),
    /// The template's files could not be written.
    #[error("cannot write the template")]
    Write(#[source] io::Error),
}

/// Why a machine could not be restored. A cold start may still work.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The template is of no use for this machine.
    #[error("the template cannot be used")]
    Template(#[source] OpenTemplateError),
    /// No template is of use for this machine.
    #[error("the machine cannot be started from a template: {0}")]
    Excluded(Exclusion),
    /// Guest memory could not be prepared.
    #[error("cannot prepare the guest's memory")]
    Memory(#[source] io::Error),
    /// The VMM could not be started.
    #[error("cannot start the VMM")]
    Start(#[source] Box<StartError>),
    /// The VMM did not accept the saved state.
    #[error("the VMM did not load the saved state")]
    State(#[source] ControlError),
}

impl Engine {
    /// Names the template that machines like `spec` can share: 32 hexadecimal digits, different
    /// whenever the kernel, the initial RAM file system, the VMM, the host's CPU or a property of
    /// the machine that its guest could see is different.
    pub fn template_key(&self, spec: &VmSpec) -> io::Result<String> {
        Ok(self.shape(spec)?.key())
    }

    /// Opens the template in `directory` if it fits `spec` and is what was saved.
    pub fn open_template(
        &self,
        directory: &Path,
        spec: &VmSpec,
    ) -> Result<Template, OpenTemplateError> {
        let shape = self.shape(spec).map_err(OpenTemplateError::Read)?;
        Template::open(directory, &shape)
    }

    /// Starts a machine to be saved. As [`Engine::start`], but it has only the devices of `spec` that all machines have: the
    /// others are put there when it is restored.
    pub async fn start_saveable(&self, spec: &VmSpec) -> Result<Saveable, StartError> {
        let mut spec = spec.clone();
        spec.devices.retain(is_saved);
        spec.disks_mut().for_each(|disk| disk.extents.clear());
        let boot = check(&spec)?;
        let failed = StartError::Prepare;
        let shape = self.shape(&spec).map_err(failed)?;
        let memory = memory::empty(spec.memory_bytes).map_err(failed)?;
        let given = memory.try_clone().map_err(failed)?;
        let console = memory::empty(0).map_err(failed)?;
        let recorded = console.try_clone().map_err(failed)?;
        let start = Start {
            boot,
            memory: Memory::Saveable(given),
            console: Some(BoundedFile::on(recorded.into())),
        };
        let vm = self.launch(&spec, start).await?;
        Ok(Saveable {
            vm,
            memory,
            console,
            shape,
        })
    }

    /// Starts a machine where `template` was saved. Its devices are those of `spec`: of some its guest knows nothing until it
    /// binds their transports' driver (`/sys/bus/platform/drivers/virtio-mmio/bind`), and finds them by their roles then. What the guest said on the channel before it was saved, it won't say again.
    ///
    /// As with [`Engine::start`], the VMM dies with the calling thread.
    pub async fn restore(&self, template: &Template, spec: &VmSpec) -> Result<Vm, RestoreError> {
        let shape = self.shape(spec).map_err(RestoreError::Memory)?;
        if shape != template.shape {
            return Err(RestoreError::Template(OpenTemplateError::OtherShape));
        }
        if let Some(reason) = self.excluded_from_templates(spec) {
            return Err(RestoreError::Excluded(reason));
        }
        let memory = template.memory.try_clone().map_err(RestoreError::Memory)?;
        let state = reopen(&template.state).map_err(RestoreError::Memory)?;
        let started = |error| RestoreError::Start(Box::new(error));
        check(spec).map_err(started)?;
        let saved = SavedMachine {
            state,
            memory,
            console: create_console(spec).map_err(started)?,
        };
        let spec = self.possible(spec);
        let running = self.vmm.restore(&spec, saved, &self.conditions).await?;
        Ok(Vm::new(running))
    }
}

impl Saveable {
    /// Ends the machine and writes it to `directory`, which appears in one step. Nothing must have been said to the
    /// guest. If the directory already holds a template, that one stays. Its parent must exist.
    pub async fn save(self, directory: &Path) -> Result<(), SaveError> {
        let Self {
            vm,
            memory,
            console,
            shape,
        } = self;
        let state = memory::empty(0).map_err(SaveError::Write)?;
        vm.machine
            .save(state.as_fd())
            .await
            .map_err(SaveError::State)?;
        drop(vm);
        let directory = directory.to_owned();
        let written = tokio::task::spawn_blocking(move || {
            let saved = template::Saved {
                memory: memory.into(),
                state: state.into(),
                console: console.into(),
            };
            template::write(&directory, shape, &saved)
        });
        written
            .await
            .map_err(JoinError::into)
            .and_then(|written| written)
            .map_err(SaveError::Write)
    }
}

/// The same file with a position of its own: each VMM reads from the start.
fn reopen(file: &File) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(File::open(path)?.into())
}
