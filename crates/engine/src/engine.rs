//! Starts virtual machines on this host.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use container_files::Links;

use crate::accelerator::Verdict;
use crate::console::BoundedFile;
use crate::device::{Device, DeviceError};
use crate::facts::Facts;
use crate::host;
use crate::kernel::{self, KernelError};
use crate::process::SpawnError;
use crate::qemu::Qemu;
use crate::spec::{Accelerator, VmSpec};
use crate::template::memory::empty;
use crate::template::shape::Shape;
use crate::vm::Vm;
use crate::vmm::{Boot, Capabilities, Conditions, ControlError, FindVmmError, Memory, Start, Vmm};

/// How long a VMM may take to set up its machine. Usual are 50 ms; many starts at once on a busy
/// host take their turns.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Least guest memory, in bytes, with which a Linux kernel starts.
const MEMORY_MINIMUM: u64 = 32 << 20;
/// Guest memory comes in these units, in bytes.
const MEMORY_UNIT: u64 = 1 << 20;

/// What this host starts virtual machines with.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) vmm: Arc<dyn Vmm>,
    verdict: Verdict,
    pub(crate) conditions: Conditions,
}

/// Why a virtual machine could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel image is missing or damaged.
    #[error("cannot start the kernel {}", path.display())]
    Kernel {
        /// The image.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KernelError,
    },
    /// The initial RAM file system is missing or empty.
    #[error("cannot read the initial RAM file system {}", path.display())]
    Initramfs {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// More memory than the host has, or less than a kernel needs, or not in whole MiB.
    #[error("a guest's memory must be a whole number of MiB from {} to {limit}, not {} bytes",
        MEMORY_MINIMUM >> 20, requested)]
    Memory {
        /// Bytes asked for.
        requested: u64,
        /// The host's memory in MiB.
        limit: u64,
    },
    /// More virtual CPUs than this host allows.
    #[error("{requested} vCPUs were asked for, this host allows {limit}")]
    Vcpus {
        /// Number asked for.
        requested: u32,
        /// See [`host::vcpu_limit`].
        limit: u32,
    },
    /// The VMM states that it cannot do it ([`Capabilities`]).
    #[error("the machine is to have {what}, which its VMM does not give it")]
    Lacking {
        /// What the machine needs.
        what: &'static str,
    },
    /// The machine cannot have its devices.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The console's file cannot be created.
    #[error("cannot create the console's file {}", path.display())]
    Console {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// The guest's memory cannot be made.
    #[error("cannot prepare the guest's memory")]
    Prepare(#[source] io::Error),
    /// The VMM's process could not be started.
    #[error("cannot start the VMM {}", path.display())]
    Spawn {
        /// The executable.
        path: PathBuf,
        /// What happened.
        #[source]
        source: SpawnError,
    },
    /// The VMM ended before its machine was complete.
    #[error("the VMM ended at its start: {0}")]
    Died(String),
    /// The VMM did not become ready.
    #[error("the VMM does not answer")]
    Silent(#[source] ControlError),
}

impl Engine {
    /// Finds the VMM and learns what the host can do. Slow answers are kept in `cache`, a directory
    /// that the caller owns, until the next boot.
    pub async fn open(cache: &Path) -> Result<Self, FindVmmError> {
        let facts = Facts::gather(cache).await?;
        let vmm = Qemu::new(facts.binary, facts.small);
        Ok(Self::with(Arc::new(vmm), facts.kvm, facts.tsc_khz))
    }

    pub(crate) fn with(vmm: Arc<dyn Vmm>, verdict: Verdict, tsc_khz: u64) -> Self {
        Self {
            vmm,
            verdict,
            conditions: Conditions {
                tsc_khz,
                answer_limit: ANSWER_LIMIT,
                accept_less: false,
            },
        }
    }

    /// Lets machines start, if `accept` is true, where the host cannot confine a VMM: a guest that takes its VMM over has
    /// then what the user has.
    #[must_use]
    pub fn accept_less_confinement(mut self, accept: bool) -> Self {
        self.conditions.accept_less = accept;
        self
    }

    /// Whether KVM works here, and if not, why.
    pub fn kvm(&self) -> &Verdict {
        &self.verdict
    }

    /// The fastest accelerator that works here.
    pub fn accelerator(&self) -> Accelerator {
        match self.verdict {
            Verdict::Works => Accelerator::Kvm,
            _ => Accelerator::Software,
        }
    }

    /// The VMM's name, version and place, for people to read.
    pub fn vmm(&self) -> String {
        self.vmm.describe(self.accelerator())
    }

    /// What the VMM can do.
    pub fn capabilities(&self) -> Capabilities {
        self.vmm.capabilities()
    }

    /// How many spare NICs `spec` has place for, if it is restored from a template.
    pub fn room_for_spare_nics(&self, spec: &VmSpec) -> usize {
        let can = self.capabilities();
        if can.late_devices && can.spare_nics {
            self.vmm.room_left(&spec.devices)
        } else {
            0
        }
    }

    /// Starts a machine. Returns when it runs, which is before its kernel has done anything.
    ///
    /// The VMM dies with the calling thread: call this on a thread that lives as long as the
    /// machine may (a runtime's worker, not `spawn_blocking`).
    pub async fn start(&self, spec: &VmSpec) -> Result<Vm, StartError> {
        let boot = check(spec)?;
        let memory = match spec.shares().next() {
            Some(_) => Memory::Shared(empty(spec.memory_bytes).map_err(StartError::Prepare)?),
            None => Memory::Own,
        };
        let start = Start {
            boot,
            memory,
            console: create_console(spec)?,
        };
        self.launch(spec, start).await
    }

    /// Starts the checked machine `spec`.
    pub(crate) async fn launch(&self, spec: &VmSpec, start: Start) -> Result<Vm, StartError> {
        if let Some(what) = self.capabilities().lacking_for(spec) {
            return Err(StartError::Lacking { what });
        }
        let spec = self.possible(spec);
        let running = self.vmm.start(&spec, start, &self.conditions).await?;
        Ok(Vm::new(running))
    }

    /// `spec` without what its VMM has not and its guest can do without.
    pub(crate) fn possible<'a>(&self, spec: &'a VmSpec) -> Cow<'a, VmSpec> {
        let mut spec = Cow::Borrowed(spec);
        if !self.capabilities().balloon && spec.has_balloon() {
            let devices = &mut spec.to_mut().devices;
            devices.retain(|device| !matches!(device, Device::Balloon));
        }
        spec
    }

    /// The shape of `spec` as this engine would run it.
    pub(crate) fn shape(&self, spec: &VmSpec) -> io::Result<Shape> {
        let vmm = self.vmm.identity(spec.accelerator);
        Shape::of(&self.possible(spec), vmm, self.conditions.tsc_khz)
    }
}

/// The file that is to have what the guest's kernel says.
pub(crate) fn create_console(spec: &VmSpec) -> Result<Option<BoundedFile>, StartError> {
    let create = |path: &PathBuf| {
        BoundedFile::create(path).map_err(|source| StartError::Console {
            path: path.clone(),
            source,
        })
    };
    spec.console_record().map(create).transpose()
}

/// Refuses what the VMM would refuse late or obscurely, and opens what it boots.
pub(crate) fn check(spec: &VmSpec) -> Result<Boot, StartError> {
    let kernel = kernel::open(&spec.kernel).map_err(|source| StartError::Kernel {
        path: spec.kernel.clone(),
        source,
    })?;
    let open = |path: &PathBuf| {
        open_initramfs(path).map_err(|source| StartError::Initramfs {
            path: path.clone(),
            source,
        })
    };
    let initramfs = spec.initramfs.as_ref().map(open).transpose()?;
    let (requested, limit) = (spec.memory_bytes, host::memory_limit());
    if requested < MEMORY_MINIMUM || requested > limit || requested % MEMORY_UNIT != 0 {
        return Err(StartError::Memory {
            requested,
            limit: limit >> 20,
        });
    }
    let (requested, limit) = (spec.vcpus.get(), host::vcpu_limit());
    if requested > limit {
        return Err(StartError::Vcpus { requested, limit });
    }
    Ok(Boot { kernel, initramfs })
}

fn open_initramfs(path: &Path) -> io::Result<File> {
    let file = container_files::open(path, Links::Follow)?;
    if file.metadata()?.len() == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty"));
    }
    Ok(file)
}
