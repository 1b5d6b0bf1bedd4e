//! QEMU's command line for a [`VmSpec`].

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use super::device::disk::BOOT_DISK;
use super::device::disk::exchange::Backends;
use super::device::nic::Nics;
use super::device::{self, place};
use crate::confinement::Needs;
use crate::confinement::filter::kvm;
use crate::device::{DeviceError, DiskRole};
use crate::process::loan::{Loan, Thing};
use crate::spec::{Accelerator, VmSpec};
use crate::vmm::{Boot, Memory};

/// Frequency of QEMU's local APIC timer (`hw/intc/apic_common.c`).
const LAPIC_TIMER_KHZ: u32 = 1_000_000;

/// Streams between the engine and devices of the guest, the VMM's ends.
#[derive(Debug)]
pub(crate) struct DeviceStreams {
    /// Guest channel, until a device has it.
    pub(crate) channel: Option<OwnedFd>,
    /// Console output, until a device has it.
    pub(crate) console: Option<OwnedFd>,
}

/// Where the machine comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// It is switched on.
    Boot(Boot, Memory),
    /// It goes on from a state of its devices (a migration stream) and a template's memory.
    Saved(OwnedFd, File),
}

/// Everything that a VMM is given open.
#[derive(Debug)]
pub(crate) struct Resources {
    /// Directory of the VMM's firmware.
    pub(crate) data: PathBuf,
    pub(crate) source: Source,
    /// Machine protocol.
    pub(crate) monitor: OwnedFd,
    pub(crate) streams: DeviceStreams,
}

/// A command line, and the descriptors it refers to by number.
#[derive(Debug, Default)]
pub(crate) struct CommandLine {
    pub(crate) arguments: Vec<OsString>,
    pub(crate) descriptors: Vec<OwnedFd>,
    /// What the VMM opens by itself.
    pub(crate) loans: Vec<Loan>,
    /// Whether the machine waits to be told to run.
    pub(crate) paused: bool,
    /// Number, in the VMM, of the descriptor to read the machine's state from.
    pub(crate) state: Option<RawFd>,
    /// What stands behind the block devices.
    pub(crate) disks: Backends,
    /// What stands behind the NICs.
    pub(crate) nics: Nics,
    /// What it must be let do.
    pub(crate) needs: Needs,
    /// What the kernel is told of transports, unless QEMU does that.
    transports: String,
}

impl CommandLine {
    /// The complete command line of `spec`. `tsc_khz` is the frequency of the host's time-stamp
    /// counter.
    pub(crate) fn new(
        spec: &VmSpec,
        tsc_khz: u64,
        resources: Resources,
    ) -> Result<Self, DeviceError> {
        let Resources {
            data,
            source,
            monitor,
            streams,
        } = resources;
        let mut line = Self::default();
        line.machine(spec);
        if spec.accelerator == Accelerator::Kvm {
            line.needs.requests(kvm::REQUESTS.map(libc::Ioctl::from));
        }
        // It cannot see where its program is.
        line.option("-L", data);
        line.option("-m", format!("{}K", spec.memory_bytes / 1024));
        match source {
            Source::Boot(boot, memory) => {
                if matches!(memory, Memory::Saveable(_)) {
                    // Those that are empty now, too.
                    line.option("-machine", "auto-kernel-cmdline=off");
                    line.transports = place::kernel_parameters();
                }
                if let Memory::Shared(file) | Memory::Saveable(file) = memory {
                    line.memory_file(spec, Loan::new(Thing::Memory, file), true);
                }
                line.boot(spec, boot, tsc_khz);
            }
            Source::Saved(state, memory) => {
                line.state = Some(line.inherit(state));
                line.memory_file(spec, Loan::new(Thing::TemplateMemory, memory), false);
                line.option("-incoming", "defer");
            }
        }
        line.monitor(monitor);
        device::attach(&mut line, spec, streams)?;
        Ok(line)
    }

    fn machine(&mut self, spec: &VmSpec) {
        for flag in ["-nodefaults", "-no-user-config", "-no-reboot"] {
            self.arguments.push(flag.into());
        }
        self.option("-display", "none");
        // Threads have names, for those who look at them.
        self.option("-name", "container,debug-threads=on");
        self.option("-machine", machine(spec.accelerator, spec.firmware_tables));
        self.option("-accel", accelerator(spec.accelerator));
        self.option("-cpu", cpu(spec.accelerator, spec.nested_virtualization));
        self.option("-smp", spec.vcpus.to_string());
        self.option("-global", "virtio-mmio.force-legacy=false");
    }

    /// Guest memory in a file.
    fn memory_file(&mut self, spec: &VmSpec, memory: Loan, share: bool) {
        let path = self.lend(memory);
        let size = spec.memory_bytes;
        let share = if share { "on" } else { "off" };
        self.option(
            "-object",
            format!("memory-backend-file,id=memory,mem-path={path},size={size},share={share}"),
        );
        self.option("-machine", "memory-backend=memory");
    }

    fn boot(&mut self, spec: &VmSpec, boot: Boot, tsc_khz: u64) {
        // The guest executes nothing before its VMM has become what a guest may attack.
        self.arguments.push("-S".into());
        self.paused = true;
        let kernel = self.lend(Loan::new(Thing::Kernel, boot.kernel));
        self.option("-kernel", kernel);
        if let Some(initramfs) = boot.initramfs {
            let initramfs = self.lend(Loan::new(Thing::Initramfs, initramfs));
            self.option("-initrd", initramfs);
        }
        let mut engine = kernel_parameters(spec.accelerator, tsc_khz);
        if spec.disks().any(|disk| disk.role == DiskRole::Init) {
            engine.push_str(" root=");
            engine.push_str(BOOT_DISK);
        }
        engine.push_str(&self.transports);
        // Of two words for one parameter the kernel takes the last one, which is the caller's.
        self.option("-append", format!("{engine} {}", spec.command_line).trim());
    }

    fn monitor(&mut self, monitor: OwnedFd) {
        let number = self.inherit(monitor);
        self.option("-chardev", format!("socket,id=monitor,fd={number}"));
        self.option("-mon", "chardev=monitor,mode=control");
    }

    /// Has the VMM open `loan`; returns under which path.
    fn lend(&mut self, loan: Loan) -> &'static str {
        let path = loan.path();
        self.loans.push(loan);
        path
    }

    pub(super) fn inherit(&mut self, descriptor: OwnedFd) -> RawFd {
        let number = descriptor.as_raw_fd();
        self.descriptors.push(descriptor);
        number
    }

    pub(super) fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.arguments.push(name.into());
        self.arguments.push(value.into());
    }
}

/// The machine without legacy devices and option ROMs.
///
/// Under TCG the kernel needs the interval timer to find the local APIC's frequency, and the
/// real-time clock: it waits a whole second for one that is not there. Under KVM it has better ones.
fn machine(accelerator: Accelerator, firmware_tables: bool) -> String {
    // By the first pin of the second I/O APIC, which comes with the tables, Linux 6.1 gets no interrupt.
    let acpi = if firmware_tables {
        "on,ioapic2=off"
    } else {
        "off"
    };
    let timers = match accelerator {
        Accelerator::Kvm => "pit=off,pic=off,rtc=off",
        Accelerator::Software => "pit=on,pic=on,rtc=on",
    };
    format!(
        "microvm,acpi={acpi},isa-serial=off,x-option-roms=off,{timers},\
         mem-merge=off,dump-guest-core=off"
    )
}

fn accelerator(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "kvm",
        Accelerator::Software => "tcg,thread=multi",
    }
}

fn cpu(accelerator: Accelerator, nested: bool) -> &'static str {
    match (accelerator, nested) {
        (Accelerator::Kvm, true) => "host",
        // Features that the host's CPU doesn't have anyway are left out in silence.
        (Accelerator::Kvm, false) => "host,-vmx,-svm",
        // TCG runs `rep movsb` byte by byte: a kernel that believes in it copies at a third of the speed.
        // With page tables of five levels, which our kernel has not, Debian's 6.1 reads wrong bytes under QEMU 7.2.
        (Accelerator::Software, true) => "max,-la57,-erms,-fsrm",
        (Accelerator::Software, false) => "max,-svm,-la57,-erms,-fsrm",
    }
}

/// What the machine above needs the kernel to know (Documentation/admin-guide/kernel-parameters).
fn kernel_parameters(accelerator: Accelerator, tsc_khz: u64) -> String {
    // A triple fault is the only reset of a machine without keyboard controller and ACPI; with
    // `-no-reboot` it ends the VMM. A panic does the same at once.
    let common = "console=hvc0 reboot=t panic=-1";
    match accelerator {
        Accelerator::Kvm => common.to_owned(),
        // Neither calibration nor the clock watchdog can be trusted when the vCPU is starved, and
        // patching code costs more than the patched code saves. `lapic_timer_khz` is known to
        // kernels with the patch in kernel/patches, and harmless to others.
        Accelerator::Software => {
            format!(
                "{common} tsc_early_khz={tsc_khz} tsc=reliable lapic_timer_khz={LAPIC_TIMER_KHZ} \
                 no_timer_check noreplace-smp"
            )
        }
    }
}

/// Doubles commas, as QEMU's option syntax wants them inside values.
pub(super) fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

#[cfg(test)]
mod tests;
