//! QEMU's command line for a [`VmSpec`].

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use super::disk::{self, Backend, Composition, DiskError};
use super::exchange::{Attached, Backends, device};
use crate::process::loan::{Loan, Thing};
use crate::spec::{Accelerator, VmSpec};

/// Most disks: a bound on descriptors, not of the machine.
pub(crate) const MAX_DISKS: usize = 64;

/// Most disks that have a virtio transport each: what the serial ports, the balloon and the random
/// number generator leave.
const MAX_VIRTIO_DISKS: usize = TRANSPORTS - 3;

/// virtio-mmio transports of a `microvm` without ACPI tables (`hw/i386/microvm.c`).
const TRANSPORTS: usize = 8;
const SERIAL_TRANSPORT: usize = 0;
const BALLOON_TRANSPORT: usize = 1;
const RNG_TRANSPORT: usize = 2;

/// Bytes that the disks say they like to be read in. The guest reads ahead twice as many (`blk_apply_bdi_limits` of its
/// kernel): each request costs an exit, a thread's turn and an interrupt.
const OPTIMAL_READ: u32 = 256 * 1024;

/// Frequency of QEMU's local APIC timer (`hw/intc/apic_common.c`).
const LAPIC_TIMER_KHZ: u32 = 1_000_000;

/// Streams between the engine and the VMM, the VMM's ends.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Machine protocol.
    pub(crate) monitor: OwnedFd,
    /// Guest channel.
    pub(crate) channel: OwnedFd,
    /// Console output.
    pub(crate) console: OwnedFd,
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
    /// It boots.
    Cold(Boot),
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
}

impl CommandLine {
    /// The complete command line of `spec`. `tsc_khz` is the frequency of the host's time-stamp
    /// counter. An error comes with the index of its disk.
    pub(crate) fn new(
        spec: &VmSpec,
        tsc_khz: u64,
        resources: Resources,
    ) -> Result<Self, (usize, DiskError)> {
        let Resources {
            data,
            start,
            streams,
        } = resources;
        let mut line = Self::default();
        line.machine(spec);
        // It cannot see where its program is.
        line.option("-L", data);
        line.option("-m", format!("{}K", spec.memory_bytes / 1024));
        match start {
            Start::Cold(boot) => line.boot(spec, boot, tsc_khz),
            Start::Saveable(boot, memory) => {
                line.memory_file(spec, Loan::new(Thing::Memory, memory), true);
                line.boot(spec, boot, tsc_khz);
            }
            Start::Restored(state, memory) => {
                line.state = Some(line.inherit(state));
                line.memory_file(spec, Loan::new(Thing::TemplateMemory, memory), false);
                line.option("-incoming", "defer");
            }
        }
        line.serial_ports(spec, streams);
        line.option(
            "-device",
            format!(
                "virtio-balloon-device,bus=virtio-mmio-bus.{BALLOON_TRANSPORT},\
                 free-page-reporting=on,deflate-on-oom=on"
            ),
        );
        line.option("-object", "rng-builtin,id=entropy");
        line.option(
            "-device",
            format!("virtio-rng-device,bus=virtio-mmio-bus.{RNG_TRANSPORT},rng=entropy"),
        );
        for (index, disk) in spec.disks.iter().enumerate() {
            disk::open(disk)
                .and_then(|backend| line.disk(index, backend, disk.read_only))
                .map_err(|error| (index, error))?;
        }
        line.disk_devices(spec.disks.len());
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
        let engine = kernel_parameters(spec.accelerator, tsc_khz);
        // Of two words for one parameter the kernel takes the last one, which is the caller's.
        self.option("-append", format!("{engine} {}", spec.command_line).trim());
    }

    /// The console and the guest channel are two ports of one device.
    fn serial_ports(&mut self, spec: &VmSpec, streams: Streams) {
        let Streams {
            monitor,
            channel,
            console,
        } = streams;
        for (name, stream) in [
            ("monitor", monitor),
            ("channel", channel),
            ("console", console),
        ] {
            let number = self.inherit(stream);
            self.option("-chardev", format!("socket,id={name},fd={number}"));
        }
        self.option("-mon", "chardev=monitor,mode=control");
        self.option(
            "-device",
            format!("virtio-serial-device,bus=virtio-mmio-bus.{SERIAL_TRANSPORT},max_ports=2"),
        );
        self.option("-device", "virtconsole,chardev=console,nr=0");
        let name = escape(&spec.guest_channel);
        self.option(
            "-device",
            format!("virtserialport,chardev=channel,nr=1,name={name}"),
        );
    }

    /// The guest's side of the disks. The kernel names virtio disks as it meets them, and QEMU
    /// tells of their transports in descending order.
    fn disk_devices(&mut self, disks: usize) {
        let alone = if disks > MAX_VIRTIO_DISKS {
            MAX_VIRTIO_DISKS - 1
        } else {
            disks
        };
        // A full host is the guest's error to have: by default the machine would stop until somebody resumed it.
        let attach = |index| {
            let id = device(index);
            format!(
                "id={id},drive=disk{index},serial=disk{index},opt_io_size={OPTIMAL_READ},\
                 werror=report,rerror=report"
            )
        };
        for index in 0..alone {
            let bus = format!("bus=virtio-mmio-bus.{}", TRANSPORTS - 1 - index);
            self.option(
                "-device",
                format!("virtio-blk-device,{bus},{}", attach(index)),
            );
        }
        if alone == disks {
            return;
        }
        let bus = format!("bus=virtio-mmio-bus.{}", TRANSPORTS - 1 - alone);
        self.option("-device", format!("virtio-scsi-device,id=scsi,{bus}"));
        for index in alone..disks {
            let unit = format!("bus=scsi.0,scsi-id=0,lun={}", index - alone);
            self.option("-device", format!("scsi-hd,{unit},{}", attach(index)));
        }
    }

    /// The host's side of a disk.
    fn disk(&mut self, index: usize, backend: Backend, read_only: bool) -> Result<(), DiskError> {
        let first = self.disks.sets;
        let source = match backend {
            Backend::Raw(file) => format!("driver=raw,file={}", self.file(index, file, read_only)),
            Backend::Composed(composition) => self.composed(index, composition)?,
        };
        let access = if read_only {
            "read-only=on"
        } else {
            // Space that the guest frees or fills with zeroes returns to the host.
            "read-only=off,discard=unmap,detect-zeroes=unmap"
        };
        self.option(
            "-blockdev",
            format!("node-name=disk{index},{source},{access}"),
        );
        self.disks.attached.push(Attached {
            nodes: vec![format!("disk{index}"), format!("file{index}")],
            sets: first..self.disks.sets,
        });
        Ok(())
    }

    /// Adds a protocol node for an opened file and returns the node's name.
    fn file(&mut self, index: usize, file: OwnedFd, read_only: bool) -> String {
        let set = self.add_to_set(file);
        let access = if read_only {
            "read-only=on"
        } else {
            "read-only=off,discard=unmap"
        };
        let name = format!("file{index}");
        self.option(
            "-blockdev",
            format!("node-name={name},driver=file,filename=/dev/fdset/{set},{access}"),
        );
        name
    }

    fn composed(&mut self, index: usize, composition: Composition) -> Result<String, DiskError> {
        let first = self.disks.sets;
        let description = disk::descriptor(&composition, |file| first + file)?;
        for file in composition.files {
            self.add_to_set(file);
        }
        Ok(format!(
            "driver=vmdk,file={}",
            self.file(index, description, true)
        ))
    }

    /// Makes a descriptor available to QEMU as `/dev/fdset/<the returned number>`.
    fn add_to_set(&mut self, descriptor: OwnedFd) -> usize {
        let set = self.disks.sets;
        self.disks.sets += 1;
        let number = self.inherit(descriptor);
        self.option("-add-fd", format!("fd={number},set={set}"));
        set
    }

    /// Has the VMM open `loan`; returns under which path.
    fn lend(&mut self, loan: Loan) -> &'static str {
        let path = loan.path();
        self.loans.push(loan);
        path
    }

    fn inherit(&mut self, descriptor: OwnedFd) -> RawFd {
        let number = descriptor.as_raw_fd();
        self.descriptors.push(descriptor);
        number
    }

    fn option(&mut self, name: &str, value: impl Into<OsString>) {
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
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::spec::{Disk, Extent};

    fn resources(initramfs: bool) -> Resources {
        let end = || OwnedFd::from(UnixStream::pair().unwrap().0);
        let null = || File::open("/dev/null").unwrap();
        Resources {
            data: "/usr/share/qemu".into(),
            start: Start::Cold(Boot {
                kernel: null(),
                initramfs: initramfs.then(null),
            }),
            streams: Streams {
                monitor: end(),
                channel: end(),
                console: end(),
            },
        }
    }

    fn spec(disks: Vec<Disk>, accelerator: Accelerator) -> VmSpec {
        VmSpec {
            kernel: "/k".into(),
            initramfs: Some("/i".into()),
            command_line: "quiet".into(),
            vcpus: NonZeroU32::MIN,
            memory_bytes: 256 << 20,
            disks,
            guest_channel: "a,readonly=on".into(),
            console: None,
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
            extents: vec![part(0, 1024), part(512, 512)],
            size: 1 << 20,
            read_only: true,
        };
        let (line, descriptors) = build(vec![view, Disk::writable(&path, 4096)], Accelerator::Tcg);
        assert!(!line.contains(directory.path().to_str().unwrap()), "{line}");
        // Three streams; layer, padding, description; the writable file.
        assert_eq!(descriptors.len(), 7);
        assert_eq!(line.matches("-blockdev").count(), 4);
        assert_eq!(line.matches("driver=").count(), 4);
        assert!(
            line.contains("node-name=disk0,driver=vmdk,file=file0,read-only=on"),
            "{line}"
        );
        assert!(
            line.contains("node-name=disk1,driver=raw,file=file1,read-only=off"),
            "{line}"
        );
        for descriptor in &descriptors[3..6] {
            let flags = rustix::fs::fcntl_getfl(descriptor).unwrap();
            assert!(!flags.intersects(rustix::fs::OFlags::RDWR | rustix::fs::OFlags::WRONLY));
        }
    }

    #[test]
    fn many_disks_share_a_transport() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        std::fs::write(&path, vec![0; 512]).unwrap();
        let line = |count| build(vec![Disk::read_only(&path, 512); count], Accelerator::Kvm).0;
        assert!(!line(MAX_VIRTIO_DISKS).contains("scsi"));
        let many = line(MAX_VIRTIO_DISKS + 2);
        assert_eq!(
            many.matches("virtio-blk-device").count(),
            MAX_VIRTIO_DISKS - 1
        );
        assert!(
            many.contains("scsi-hd,bus=scsi.0,scsi-id=0,lun=2,id=block6,drive=disk6,serial=disk6,")
        );
        // No transport twice.
        for number in 0..TRANSPORTS {
            assert_eq!(
                many.matches(&format!("virtio-mmio-bus.{number}")).count(),
                1,
                "{many}"
            );
        }
    }

    #[test]
    fn a_missing_disk_is_an_error() {
        let disks = vec![Disk::writable("/nonexistent".as_ref(), 512)];
        CommandLine::new(&spec(disks, Accelerator::Kvm), 0, resources(true)).unwrap_err();
    }
}
