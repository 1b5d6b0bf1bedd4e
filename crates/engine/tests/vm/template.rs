//! Machines saved while they wait, and restored.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::support::{self, Guest, PATIENCE, engine, spec, vhost};
use crate::{devices, tap};
use container_engine::{
    Device, Disk, DiskRole, Engine, ExitCause, MacAddress, Nic, OpenTemplateError, VmSpec,
};

/// Boots a guest to its first word and saves it.
async fn save(engine: &Engine, spec: &VmSpec, directory: &Path) {
    let mut saveable = engine.start_saveable(spec).await.unwrap();
    let mut channel = saveable.vm.take_channel().unwrap();
    let mut word = [0; 6];
    let read = tokio::io::AsyncReadExt::read_exact(&mut channel, &mut word);
    tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
    assert_eq!(&word, b"ready\n");
    saveable.vm.note_on_console(b"[ready]\n");
    saveable.save(directory).await.unwrap();
}

#[tokio::test]
async fn a_saved_machine_starts_often_with_disks_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine().await;
    let image = directory.path().join("image");
    std::fs::write(&image, vec![b'i'; 8192]).unwrap();
    let machine = |upper: &Path| {
        std::fs::File::create(upper)
            .unwrap()
            .set_len(1 << 20)
            .unwrap();
        let mut image = Disk::read_only(DiskRole::Root, &image, 8192);
        image.size = 1 << 20;
        let mut spec = spec(
            &engine,
            vec![image, Disk::writable(DiskRole::Upper, upper, 1 << 20)],
        );
        spec.memory_bytes = 1 << 30;
        spec
    };
    let place = directory.path().join("one");
    let specs: Vec<_> = ["a", "b"]
        .iter()
        .map(|name| machine(&directory.path().join(name)))
        .collect();
    assert_eq!(
        engine.template_key(&specs[0]).unwrap(),
        engine.template_key(&specs[1]).unwrap()
    );
    assert!(matches!(
        engine.open_template(&place, &specs[0]),
        Err(OpenTemplateError::Missing(_))
    ));

    let cold = Instant::now();
    let mut shape = specs[0].clone();
    shape.disks_mut().for_each(|disk| disk.extents.clear());
    save(&engine, &shape, &place).await;
    eprintln!("cold boot and save: {:?}", cold.elapsed());

    for (spec, upper) in specs.iter().zip(["a", "b"]) {
        let start = Instant::now();
        let template = engine.open_template(&place, spec).unwrap();
        let opened = start.elapsed();
        // What the guest said before is kept with it.
        let console = template.console();
        let console = String::from_utf8_lossy(&console);
        assert!(console.contains("[ready]\n"), "{console}");
        let mut guest = Guest::attach(engine.restore(&template, spec).await.unwrap());
        let restored = start.elapsed();
        assert_eq!(guest.ask("echo again").await, "again");
        eprintln!(
            "opened {opened:?}, restored {restored:?}, first byte {:?}",
            start.elapsed()
        );
        assert_eq!(guest.ask("read root 15").await, "i".repeat(16));
        assert_eq!(guest.ask("read root 16").await, ".".repeat(16));
        assert_eq!(guest.ask("read upper 3").await, ".".repeat(16));
        assert_eq!(guest.ask("write upper 3").await, "0");
        assert!(guest.ask("write root 3").await.starts_with('-'));
        if upper == "a" {
            // Pages that the guest frees go back to the host, never out of the template: the
            // second machine would not start.
            support::expect_memory_to_return(&mut guest, 512).await;
        }
        let mut written = [0];
        let disk = std::fs::File::open(directory.path().join(upper)).unwrap();
        disk.read_exact_at(&mut written, 3 * 512).unwrap();
        assert_eq!(&written, b"W");
        guest.send("exit").await;
        assert_eq!(guest.vm.wait().await.unwrap().cause, ExitCause::Guest);
    }

    // What the VMM would refuse, or the guest not expect, does not fit.
    let changes: [fn(&mut VmSpec); 4] = [
        |spec| spec.memory_bytes += 1 << 20,
        |spec| spec.vcpus = spec.vcpus.saturating_add(1),
        |spec| spec.disks_mut().for_each(|disk| disk.size += 4096),
        |spec| spec.disks_mut().for_each(|disk| disk.read_only = true),
    ];
    for change in changes {
        let mut other = specs[0].clone();
        change(&mut other);
        assert!(matches!(
            engine.open_template(&place, &other),
            Err(OpenTemplateError::OtherShape)
        ));
        assert_ne!(
            engine.template_key(&other).unwrap(),
            engine.template_key(&specs[0]).unwrap()
        );
    }
    // A damaged template is refused, and so is a truncated one.
    let memory = std::fs::File::options()
        .read(true)
        .write(true)
        .open(place.join("memory"))
        .unwrap();
    let mut byte = [0];
    memory.read_exact_at(&mut byte, 20 << 20).unwrap();
    memory.write_all_at(&[byte[0] ^ 1], 20 << 20).unwrap();
    assert!(matches!(
        engine.open_template(&place, &specs[0]),
        Err(OpenTemplateError::Damaged(_))
    ));
    memory.write_all_at(&byte, 20 << 20).unwrap();
    engine.open_template(&place, &specs[0]).unwrap();
    let state = std::fs::File::options()
        .write(true)
        .open(place.join("state"))
        .unwrap();
    state.set_len(100).unwrap();
    assert!(matches!(
        engine.open_template(&place, &specs[0]),
        Err(OpenTemplateError::Damaged(_))
    ));
}

#[tokio::test]
async fn a_nic_is_saved_and_has_another_tap_when_it_is_restored() {
    if !rustix::process::geteuid().is_root() {
        // Only root makes taps.
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let engine = engine().await;
    let place = directory.path().join("template");
    let mac = MacAddress::new([2, 0, 0, 0, 0, 1]).unwrap();
    let with_nic = || {
        let (tap, socket) = tap::make();
        let mut spec = spec(&engine, Vec::new());
        spec.devices.push(Device::Nic(Nic {
            tap: Arc::new(tap),
            mac,
            mtu: 1400,
            vhost: vhost(&engine),
            saved: true,
        }));
        (spec, socket)
    };
    let (first, _socket) = with_nic();
    save(&engine, &first, &place).await;
    let without = spec(&engine, Vec::new());
    assert!(matches!(
        engine.open_template(&place, &without),
        Err(OpenTemplateError::OtherShape)
    ));
    let (second, socket) = with_nic();
    let template = engine.open_template(&place, &second).unwrap();
    let mut guest = Guest::attach(engine.restore(&template, &second).await.unwrap());
    devices::expect_a_network(&mut guest, &mac.to_string(), "1400", socket).await;
    guest.send("exit").await;
    assert_eq!(guest.vm.wait().await.unwrap().cause, ExitCause::Guest);
}

#[tokio::test]
async fn a_disk_and_a_nic_come_late_to_a_restored_machine() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine().await;
    let place = directory.path().join("template");
    let mut spec = spec(&engine, Vec::new());
    save(&engine, &spec, &place).await;
    let volume = directory.path().join("volume");
    std::fs::write(&volume, vec![b'v'; 1 << 20]).unwrap();
    let volume = Disk::writable(DiskRole::Volume(3), &volume, 1 << 20);
    spec.devices.push(Device::Disk(volume.clone()));
    // Only root makes taps.
    let network = rustix::process::geteuid().is_root().then(tap::make);
    let socket = network.map(|(tap, socket)| {
        spec.devices.push(Device::Nic(Nic {
            tap: Arc::new(tap),
            mac: MacAddress::new([2, 0, 0, 0, 0, 9]).unwrap(),
            mtu: 1500,
            vhost: vhost(&engine),
            saved: false,
        }));
        socket
    });
    let template = engine.open_template(&place, &spec).unwrap();
    let mut guest = Guest::attach(engine.restore(&template, &spec).await.unwrap());
    let late = 1 + u32::from(socket.is_some());
    assert_eq!(guest.ask("name volume-3").await, "none");
    // They follow each other. A guest need not know: it may bind until it has found what it looks for.
    assert_eq!(guest.ask(&format!("bind {late}")).await, late.to_string());
    assert_eq!(guest.ask("read volume-3 9").await, "v".repeat(16));
    assert_eq!(guest.ask("write volume-3 9").await, "0");
    let mut written = [0];
    let disk = std::fs::File::open(&volume.extents[0].path).unwrap();
    disk.read_exact_at(&mut written, 9 * 512).unwrap();
    assert_eq!(&written, b"W");
    if let Some(socket) = socket {
        devices::expect_a_network(&mut guest, "02:00:00:00:00:09", "1500", socket).await;
    }
    guest.send("exit").await;
    assert_eq!(guest.vm.wait().await.unwrap().cause, ExitCause::Guest);
}
