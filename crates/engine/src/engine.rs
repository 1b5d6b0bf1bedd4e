//! Starts virtual machines on this host.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use container_files::Links;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use crate::accelerator::Verdict;
use crate::confinement::ceilings::Ceilings;
use crate::confinement::libraries;
use crate::console::BoundedFile;
use crate::facts::Facts;
use crate::host;
use crate::kernel::{self, KernelError};
use crate::process::{self, Program, SpawnError, loan};
use crate::qemu::arguments::{Boot, CommandLine, Resources, Start, Streams};
use crate::qemu::binary::{Binary, FindVmmError};
use crate::qemu::device::DeviceError;
use crate::qemu::qmp::QmpError;
use crate::spec::{Accelerator, VmSpec};
use crate::template::{self, shape::Shape};
use crate::vm::{Recorder, Spawned, Vm};

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
    binary: Binary,
    small: Option<Binary>,
    verdict: Verdict,
    tsc_khz: u64,
    pub(crate) answer_limit: Duration,
    accept_less: bool,
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
    /// The machine can't have its devices.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The console's file can't be created.
    #[error("cannot create the console's file {}", path.display())]
    Console {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
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
    Silent(#[source] QmpError),
}

impl Engine {
    /// Finds the VMM and learns what the host can do. Slow answers are kept in `cache`, a directory
    /// that the caller owns, until the next boot.
    pub async fn open(cache: &Path) -> Result<Self, FindVmmError> {
        let facts = Facts::gather(cache).await?;
        Ok(Self {
            binary: facts.binary,
            small: facts.small,
            verdict: facts.kvm,
            tsc_khz: facts.tsc_khz,
            answer_limit: ANSWER_LIMIT,
            accept_less: false,
        })
    }

    /// Lets machines start, if `accept` is true, where the host cannot confine a VMM: a guest that takes its VMM over has
    /// then what the user has.
    #[must_use]
    pub fn accept_less_confinement(mut self, accept: bool) -> Self {
        self.accept_less = accept;
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
            _ => Accelerator::Tcg,
        }
    }

    /// The VMM's executable and version, for people to read.
    pub fn vmm(&self) -> String {
        let binary = self.binary(self.accelerator());
        format!("QEMU {} ({})", binary.version, binary.path.display())
    }

    /// The VMM for machines with `accelerator`.
    fn binary(&self, accelerator: Accelerator) -> &Binary {
        match (accelerator, &self.small) {
            (Accelerator::Kvm, Some(small)) => small,
            _ => &self.binary,
        }
    }

    /// Starts a machine. Returns when it runs, which is before its kernel has done anything.
    ///
    /// The VMM dies with the calling thread: call this on a thread that lives as long as the
    /// machine may (a runtime's worker, not `spawn_blocking`).
    pub async fn start(&self, spec: &VmSpec) -> Result<Vm, StartError> {
        let boot = check(spec)?;
        let shared = spec.shares().next().map(|_| spec.memory_bytes);
        let memory = shared.map(template::memory::empty).transpose();
        let memory = memory.map_err(|source| self.spawn_failed(spec, source))?;
        self.launch(spec, Start::Cold(boot, memory))?
            .answer(self.answer_limit)
            .await
    }

    /// Spawns the VMM for a checked `spec`.
    pub(crate) fn launch(&self, spec: &VmSpec, start: Start) -> Result<Spawned, StartError> {
        let failed = |source| self.spawn_failed(spec, source);
        let binary = self.binary(spec.accelerator);
        let streams = OpenStreams::new().map_err(failed)?;
        let line = CommandLine::new(
            spec,
            self.tsc_khz,
            Resources {
                data: libraries::data(&binary.path),
                start,
                monitor: streams.vmm_monitor,
                streams: streams.vmm,
            },
        )?;
        let console = spec.console_record().map(|file| create_console(file));
        let console = console.transpose()?;
        let at = Instant::now();
        let mut loans = line.loans;
        if spec.accelerator == Accelerator::Kvm {
            loans.push(loan::kvm().map_err(failed)?);
        }
        let translates = spec.accelerator == Accelerator::Tcg;
        let started = process::spawn(Program {
            path: &binary.path,
            arguments: &line.arguments,
            descriptors: &line.descriptors,
            libraries: &binary.libraries,
            loans,
            ceilings: Ceilings::new(
                spec.memory_bytes,
                spec.vcpus.get(),
                translates,
                line.needs.largest_file().max(template::STATE_LIMIT),
            ),
            requests: line.needs.all_requests(),
            starting: line.needs.calls_of_the_start(),
            accept_less: self.accept_less,
        })
        .map_err(|source| StartError::Spawn {
            path: binary.path.clone(),
            source,
        })?;
        let messages = pipe::Receiver::from_owned_fd(started.messages).map_err(failed)?;
        Ok(Spawned {
            process: started.process,
            control: streams.monitor,
            channel: streams.channel,
            console: Recorder::start(streams.console, console),
            messages: Recorder::start(messages, None),
            paused: line.paused,
            state: line.state,
            disks: line.disks,
            at,
        })
    }

    /// The shape of `spec` as this engine would run it.
    pub(crate) fn shape(&self, spec: &VmSpec) -> io::Result<Shape> {
        Shape::of(spec, &self.binary(spec.accelerator).identity, self.tsc_khz)
    }

    pub(crate) fn spawn_failed(&self, spec: &VmSpec, source: io::Error) -> StartError {
        StartError::Spawn {
            path: self.binary(spec.accelerator).path.clone(),
            source: source.into(),
        }
    }
}

/// Both ends of the streams to a VMM.
#[derive(Debug)]
struct OpenStreams {
    monitor: UnixStream,
    channel: UnixStream,
    console: UnixStream,
    vmm_monitor: OwnedFd,
    vmm: Streams,
}

impl OpenStreams {
    fn new() -> io::Result<Self> {
        let (monitor, vmm_monitor) = pair()?;
        let (channel, vmm_channel) = pair()?;
        let (console, vmm_console) = pair()?;
        let vmm = Streams {
            channel: Some(vmm_channel),
            console: Some(vmm_console),
        };
        Ok(Self {
            monitor,
            channel,
            console,
            vmm_monitor,
            vmm,
        })
    }
}

fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    Ok((ours, theirs.into_std()?.into()))
}

fn create_console(path: &Path) -> Result<BoundedFile, StartError> {
    BoundedFile::create(path).map_err(|source| StartError::Console {
        path: path.to_owned(),
        source,
    })
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
