//! QEMU's command line for a [`VmSpec`].

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use super::device::disk::BOOT_DISK;
use super::device::disk::exchange::Backends;
use super::device::{self, DeviceError, place};
use crate::confinement::Needs;
use crate::confinement::filter::kvm;
use crate::device::DiskRole;
use crate::process::loan::{Loan, Thing};
use crate::spec::{Accelerator, VmSpec};

/// Frequency of QEMU's local APIC timer (`hw/intc/apic_common.c`).
const LAPIC_TIMER_KHZ: u32 = 1_000_000;

/// Streams between the engine and devices of the guest, the VMM's ends.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Guest channel, until a device has it.
    pub(crate) channel: Option<OwnedFd>,
    /// Console output, until a device has it.
    pub(crate) console: Option<OwnedFd>,
}

/// What the machine boots.
#[derive(Debug)]
pub(crate) struct Boot {
    /// Kernel image.
    pub(crate) kernel: File,
    /// Initial RAM file system, unless it boots from a disk.
    pub(crate) initramfs: Option<File>,
}

/// How the machine starts.
#[derive(Debug)]
pub(crate) enum Start {
    /// It boots. Where a process serves a share, its memory is a file that both map.
    Cold(Boot, Option<OwnedFd>),
    /// It boots to be saved: its memory is a file that the engine can read.
    Saveable(Boot, OwnedFd),
    /// It goes on from a state of its devices (a migration stream) and a template's memory.
    Restored(OwnedFd, File),
}

/// Everything that a VMM is given open.
#[derive(Debug)]
pub(crate) struct Resources {
    /// Directory of the VMM's firmware.
    pub(crate) data: PathBuf,
    pub(crate) start: Start,
    /// Machine protocol.
    pub(crate) monitor: OwnedFd,
    pub(crate) streams: Streams,
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
            start,
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
        match start {
            Start::Cold(boot, memory) => {
                if let Some(memory) = memory {
                    line.memory_file(spec, Loan::new(Thing::Memory, memory), true);
                }
                line.boot(spec, boot, tsc_khz);
            }
            Start::Saveable(boot, memory) => {
                // Those that are empty now, too.
                line.option("-machine", "auto-kernel-cmdline=off");
                line.transports = place::kernel_parameters();
                line.memory_file(spec, Loan::new(Thing::Memory, memory), true);
                line.boot(spec, boot, tsc_khz);
            }
            Start::Restored(state, memory) => {
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
        self.option("-machine", machine(spec.accelerator));
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

/// The machine without firmware tables, legacy devices and option ROMs.
///
/// Under TCG the kernel needs the interval timer to find the local APIC's frequency, and the
/// real-time clock: it waits a whole second for one that is not there. Under KVM it has better ones.
fn machine(accelerator: Accelerator) -> String {
    let timers = match accelerator {
        Accelerator::Kvm => "pit=off,pic=off,rtc=off",
        Accelerator::Tcg => "pit=on,pic=on,rtc=on",
    };
    format!(
        "microvm,acpi=off,isa-serial=off,x-option-roms=off,{timers},\
         mem-merge=off,dump-guest-core=off"
    )
}

fn accelerator(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "kvm",
        Accelerator::Tcg => "tcg,thread=multi",
    }
}

fn cpu(accelerator: Accelerator, nested: bool) -> &'static str {
    match (accelerator, nested) {
        (Accelerator::Kvm, true) => "host",
        // Features that the host's CPU doesn't have anyway are left out in silence.
        (Accelerator::Kvm, false) => "host,-vmx,-svm",
        // TCG runs `rep movsb` byte by byte: a kernel that believes in it copies at a third of the speed.
        (Accelerator::Tcg, true) => "max,-erms,-fsrm",
        (Accelerator::Tcg, false) => "max,-svm,-erms,-fsrm",
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
        Accelerator::Tcg => {
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
mod tests {
    use std::num::NonZeroU32;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::*;
    use crate::device::{Device, Disk, Extent, Share};

    fn resources(initramfs: bool) -> Resources {
        let end = || OwnedFd::from(UnixStream::pair().unwrap().0);
        let null = || File::open("/dev/null").unwrap();
        Resources {
            data: "/usr/share/qemu".into(),
            start: Start::Cold(
                Boot {
                    kernel: null(),
                    initramfs: initramfs.then(null),
                },
                None,
            ),
            monitor: end(),
            streams: Streams {
                channel: Some(end()),
                console: Some(end()),
            },
        }
    }

    fn spec(disks: Vec<Disk>, accelerator: Accelerator) -> VmSpec {
        let mut devices = vec![
            Device::GuestChannel {
                name: "a,readonly=on".into(),
            },
            Device::Console { record: None },
            Device::Balloon,
            Device::Entropy,
        ];
        devices.extend(disks.into_iter().map(Device::Disk));
        VmSpec {
            kernel: "/k".into(),
            initramfs: Some("/i".into()),
            command_line: "quiet".into(),
            vcpus: NonZeroU32::MIN,
            memory_bytes: 256 << 20,
            devices,
            accelerator,
            nested_virtualization: false,
        }
    }

    fn build(disks: Vec<Disk>, accelerator: Accelerator) -> (String, Vec<OwnedFd>) {
        complete(&spec(disks, accelerator), resources(true))
    }

    fn complete(spec: &VmSpec, resources: Resources) -> (String, Vec<OwnedFd>) {
        let line = CommandLine::new(spec, 2_500_000, resources).unwrap();
        let words: Vec<_> = line
            .arguments
            .iter()
            .map(|word| word.to_str().unwrap())
            .collect();
        (words.join(" "), line.descriptors)
    }

    #[test]
    fn a_name_cannot_smuggle_options() {
        let (line, _) = build(vec![], Accelerator::Tcg);
        assert!(line.contains("name=a,,readonly=on"), "{line}");
    }

    #[test]
    fn a_machine_may_boot_from_a_disk() {
        let (line, _) = build(vec![], Accelerator::Tcg);
        assert!(line.contains("-initrd /guest/initramfs"), "{line}");
        let (line, descriptors) = complete(&spec(vec![], Accelerator::Tcg), resources(false));
        assert!(!line.contains("-initrd"), "{line}");
        // Three streams.
        assert_eq!(descriptors.len(), 3);
    }

    #[test]
    fn the_clock_is_given_only_where_it_cannot_be_learnt() {
        let (line, _) = build(vec![], Accelerator::Tcg);
        assert!(line.contains("-append console=hvc0"), "{line}");
        assert!(line.contains(" quiet -"), "{line}");
        assert!(line.contains("tsc_early_khz=2500000"), "{line}");
        let (line, _) = build(vec![], Accelerator::Kvm);
        assert!(!line.contains("tsc"), "{line}");
    }

    #[test]
    fn no_path_of_a_disk_and_no_detected_format_reaches_the_vmm() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("layer");
        std::fs::write(&path, vec![0; 4096]).unwrap();
        let part = |offset, length| Extent {
            path: path.clone(),
            offset,
            length,
        };
        let view = Disk {
            role: DiskRole::Root,
            extents: vec![part(0, 1024), part(512, 512)],
            size: 1 << 20,
            read_only: true,
        };
        let (line, descriptors) = build(
            vec![view, Disk::writable(DiskRole::Upper, &path, 4096)],
            Accelerator::Tcg,
        );
        assert!(!line.contains(directory.path().to_str().unwrap()), "{line}");
        // Three streams; layer, padding, description; the writable file.
        assert_eq!(descriptors.len(), 7);
        assert_eq!(line.matches("-blockdev").count(), 4);
        assert_eq!(line.matches("driver=").count(), 4);
        assert!(
            line.contains("node-name=disk-root,driver=vmdk,file=file-root,read-only=on"),
            "{line}"
        );
        assert!(
            line.contains("node-name=disk-upper,driver=raw,file=file-upper,read-only=off"),
            "{line}"
        );
        for descriptor in &descriptors[3..6] {
            let flags = rustix::fs::fcntl_getfl(descriptor).unwrap();
            assert!(!flags.intersects(rustix::fs::OFlags::RDWR | rustix::fs::OFlags::WRONLY));
        }
    }

    #[test]
    fn many_disks_share_a_transport() {
        let disk = |number| Disk::empty(DiskRole::Volume(number), 512, true);
        let line = |count| build((0..count).map(disk).collect(), Accelerator::Kvm).0;
        assert!(!line(5).contains("scsi"));
        let many = line(7);
        assert_eq!(many.matches("virtio-blk-device").count(), 4);
        assert_eq!(many.matches("virtio-scsi-device").count(), 1);
        assert!(
            many.contains(
                "scsi-hd,bus=scsi.0,scsi-id=0,lun=2,id=volume-6,drive=disk-volume-6,serial=volume-6,"
            ),
            "{many}"
        );
        // No transport twice.
        for number in 0..8 {
            assert_eq!(
                many.matches(&format!("virtio-mmio-bus.{number}")).count(),
                1,
                "{many}"
            );
        }
    }

    #[test]
    fn a_disk_to_boot_from_is_named_to_the_kernel_before_what_the_caller_says() {
        let disks = [DiskRole::Root, DiskRole::Init].map(|role| Disk::empty(role, 512, true));
        let (line, _) = complete(&spec(disks.to_vec(), Accelerator::Tcg), resources(false));
        assert!(line.contains(" root=/dev/vda quiet "), "{line}");
        assert!(
            line.contains("virtio-blk-device,bus=virtio-mmio-bus.7,id=init,"),
            "{line}"
        );
    }

    #[test]
    fn what_a_machine_needs_is_what_its_devices_need() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("upper");
        std::fs::write(&path, vec![0; 4096]).unwrap();
        let upper = Disk::writable(DiskRole::Upper, &path, 4096);
        let needs = |accelerator| {
            let spec = spec(vec![upper.clone()], accelerator);
            CommandLine::new(&spec, 0, resources(true)).unwrap().needs
        };
        assert_eq!(needs(Accelerator::Tcg).largest_file(), 4096);
        assert!(needs(Accelerator::Tcg).all_requests().is_empty());
        assert_eq!(needs(Accelerator::Kvm).all_requests()[0], 0xae80);
    }

    #[test]
    fn a_share_is_a_socket_and_memory_that_two_map() {
        let mut spec = spec(vec![], Accelerator::Tcg);
        let socket = UnixStream::pair().unwrap().0;
        spec.devices.push(Device::Share(Share {
            tag: "a,b".into(),
            server: Arc::new(socket.into()),
        }));
        let mut resources = resources(true);
        if let Start::Cold(_, memory) = &mut resources.start {
            *memory = Some(File::open("/dev/null").unwrap().into());
        }
        let line = CommandLine::new(&spec, 0, resources).unwrap();
        assert_eq!(line.needs.calls_of_the_start(), [libc::SYS_socketpair]);
        assert_eq!(line.descriptors.len(), 4);
        let words: Vec<_> = line.arguments.iter().filter_map(|w| w.to_str()).collect();
        let words = words.join(" ");
        assert!(
            words.contains("chardev=share7,queue-size=1024,tag=a,,b"),
            "{words}"
        );
        assert!(
            words.contains("mem-path=/guest/memory,size=268435456,share=on"),
            "{words}"
        );
    }

    #[test]
    fn a_missing_disk_is_an_error() {
        let disks = vec![Disk::writable(
            DiskRole::Upper,
            "/nonexistent".as_ref(),
            512,
        )];
        let error = CommandLine::new(&spec(disks, Accelerator::Kvm), 0, resources(true));
        assert_eq!(
            error.unwrap_err().to_string(),
            "cannot attach the disk `upper`"
        );
    }
}
