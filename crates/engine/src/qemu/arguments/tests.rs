//! What the command line of a machine says.

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
        source: Source::Boot(
            Boot {
                kernel: null(),
                initramfs: initramfs.then(null),
            },
            Memory::Own,
        ),
        monitor: end(),
        streams: DeviceStreams {
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
        firmware_tables: false,
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
    let (line, _) = build(vec![], Accelerator::Software);
    assert!(line.contains("name=a,,readonly=on"), "{line}");
}

#[test]
fn a_machine_may_boot_from_a_disk() {
    let (line, _) = build(vec![], Accelerator::Software);
    assert!(line.contains("-initrd /guest/initramfs"), "{line}");
    let (line, descriptors) = complete(&spec(vec![], Accelerator::Software), resources(false));
    assert!(!line.contains("-initrd"), "{line}");
    // Three streams.
    assert_eq!(descriptors.len(), 3);
}

#[test]
fn firmware_tables_are_for_kernels_that_need_them() {
    let mut spec = spec(vec![], Accelerator::Kvm);
    let (line, _) = complete(&spec, resources(true));
    assert!(line.contains("microvm,acpi=off,"), "{line}");
    spec.firmware_tables = true;
    let (line, _) = complete(&spec, resources(true));
    assert!(line.contains("microvm,acpi=on,ioapic2=off,"), "{line}");
}

#[test]
fn the_clock_is_given_only_where_it_cannot_be_learnt() {
    let (line, _) = build(vec![], Accelerator::Software);
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
        Accelerator::Software,
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

/// QEMU's block layer answers a flush of the guest's with `fdatasync`(2) of the file, unless it is told that the cache needs none; and a guest
/// flushes only a device that says it has a cache.
#[test]
fn what_a_guest_flushes_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    std::fs::write(&path, vec![0; 4096]).unwrap();
    let roles = [DiskRole::Upper].into_iter();
    let roles = roles.chain((0..7).map(DiskRole::Volume));
    let disks = roles
        .map(|role| Disk::writable(role, &path, 4096))
        .collect();
    let (line, _) = build(disks, Accelerator::Software);
    assert_eq!(line.matches("read-only=off").count(), 16, "{line}");
    for weaker in ["no-flush", "cache=", "cache.", "write-cache", "unsafe"] {
        assert!(!line.contains(weaker), "{weaker}: {line}");
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
    let (line, _) = complete(
        &spec(disks.to_vec(), Accelerator::Software),
        resources(false),
    );
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
    assert_eq!(needs(Accelerator::Software).largest_file(), 4096);
    assert!(needs(Accelerator::Software).all_requests().is_empty());
    assert_eq!(needs(Accelerator::Kvm).all_requests()[0], 0xae80);
}

#[test]
fn a_share_is_a_socket_and_memory_that_two_map() {
    let mut spec = spec(vec![], Accelerator::Software);
    let socket = UnixStream::pair().unwrap().0;
    spec.devices.push(Device::Share(Share {
        tag: "a,b".into(),
        server: Arc::new(socket.into()),
    }));
    let mut resources = resources(true);
    if let Source::Boot(_, memory) = &mut resources.source {
        *memory = Memory::Shared(File::open("/dev/null").unwrap().into());
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
