//! Real machines: what the guest sees, and what the host sees of the guest.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::{self, Guest, PATIENCE, engine, spec};
use container_engine::{Device, Disk, DiskRole, ExitCause, Extent, StartError};

fn file(directory: &Path, name: &str, fill: u8, length: usize) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, vec![fill; length]).unwrap();
    path
}

#[tokio::test]
async fn disks_channel_and_console_reach_the_guest_and_nothing_remains() {
    let directory = tempfile::tempdir().unwrap();
    let view = file(directory.path(), "view", b'v', 4096);
    let layer = file(directory.path(), "layer", b'l', 8192);
    let upper = directory.path().join("upper");
    std::fs::File::create(&upper)
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    let part = |path: &Path, offset, length| Extent {
        path: path.to_owned(),
        offset,
        length,
    };
    let composed = Disk {
        role: DiskRole::Root,
        extents: vec![part(&view, 0, 4096), part(&layer, 512, 4096)],
        size: 256 << 30,
        read_only: true,
    };
    let engine = engine().await;
    let disks = vec![
        composed,
        Disk::writable(DiskRole::Upper, &upper, 64 << 20),
        Disk::read_only(DiskRole::Volume(1), &layer, 8192),
    ];
    let mut spec = spec(&engine, disks);
    spec.record_console(directory.path().join("console.log"));
    let mut guest = Guest::boot(&engine, &spec).await;

    assert_eq!(guest.ask("echo hello there").await, "hello there");
    for (role, sectors) in [
        ("root", "536870912"),
        ("upper", "131072"),
        ("volume-1", "16"),
    ] {
        assert_eq!(guest.ask(&format!("size {role}")).await, sectors);
    }
    assert_eq!(guest.ask("name volume-2").await, "none");
    // The view's last sector, the layer's first given one, its last, and the padding.
    assert_eq!(guest.ask("read root 7").await, "v".repeat(16));
    assert_eq!(guest.ask("read root 8").await, "l".repeat(16));
    assert_eq!(guest.ask("read root 15").await, "l".repeat(16));
    assert_eq!(guest.ask("read root 16").await, ".".repeat(16));
    assert_eq!(guest.ask("read root 536870911").await, ".".repeat(16));
    // Read-only means that opening for writing fails; writable means that the host has it.
    let denied = guest.ask("write root 0").await;
    assert!(denied.starts_with('-'), "{denied}");
    assert!(guest.ask("write volume-1 0").await.starts_with('-'));
    assert_eq!(guest.ask("write upper 5").await, "0");
    let mut written = [0; 16];
    let mut host = std::fs::File::open(&upper).unwrap();
    host.seek(SeekFrom::Start(5 * 512)).unwrap();
    host.read_exact(&mut written).unwrap();
    assert_eq!(&written, b"WWWWWWWWWWWWWWWW");

    guest.vm.pause().await.unwrap();
    guest.send("echo paused").await;
    let silence = tokio::time::timeout(Duration::from_millis(300), guest.line()).await;
    assert!(silence.is_err(), "a paused guest answered");
    guest.vm.resume().await.unwrap();
    assert_eq!(guest.line().await, "paused");
    assert!(guest.vm.host_memory().unwrap() > 10 << 20);

    let process = PathBuf::from(format!("/proc/{}", guest.vm.pid()));
    guest.send("exit").await;
    let exit = tokio::time::timeout(PATIENCE, guest.vm.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(exit.cause, ExitCause::Guest);
    assert!(!process.exists());
    let console = std::fs::read_to_string(directory.path().join("console.log")).unwrap();
    assert!(console.contains("guest: ready"), "{console}");
    assert_eq!(std::fs::read(&view).unwrap(), vec![b'v'; 4096]);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 4);
}

#[tokio::test]
async fn a_flood_on_the_console_stays_bounded_and_a_kill_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine().await;
    let mut spec = spec(&engine, vec![]);
    let log = directory.path().join("console.log");
    spec.record_console(log.clone());
    let mut guest = Guest::boot(&engine, &spec).await;
    guest.send("flood").await;
    // Until the log has been cut once.
    let cut = async {
        loop {
            let mut start = [0; 5];
            let length = std::fs::metadata(&log).unwrap().len();
            assert!(length <= container_engine::console::CAPACITY);
            let mut file = std::fs::File::open(&log).unwrap();
            if file.read_exact(&mut start).is_ok() && &start == b"[... " {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, cut).await.unwrap();
    guest.vm.kill().unwrap();
    let exit = guest.vm.wait().await.unwrap();
    assert_eq!(exit.cause, ExitCause::Vmm);
    assert_eq!(exit.to_string(), "the VMM was killed by signal 9");
}

#[tokio::test]
async fn a_panic_is_told_with_its_message() {
    let engine = engine().await;
    let mut guest = Guest::boot(&engine, &spec(&engine, vec![])).await;
    guest.send("panic").await;
    let exit = tokio::time::timeout(PATIENCE, guest.vm.wait())
        .await
        .unwrap()
        .unwrap();
    let ExitCause::Panic(message) = &exit.cause else {
        panic!("{exit:?}")
    };
    assert!(
        message.starts_with("Attempted to kill init! exitcode=0x00000700"),
        "{exit:?}"
    );
}

#[tokio::test]
async fn bad_specifications_are_refused_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine().await;
    let good = spec(&engine, vec![]);

    let mut bad = good.clone();
    bad.kernel = directory.path().join("missing");
    assert!(matches!(
        engine.start(&bad).await,
        Err(StartError::Kernel { .. })
    ));

    let mut bad = good.clone();
    bad.kernel = directory.path().join("truncated");
    let mut start = vec![0; 100_000];
    std::fs::File::open(&good.kernel)
        .unwrap()
        .read_exact(&mut start)
        .unwrap();
    std::fs::File::create(&bad.kernel)
        .unwrap()
        .write_all(&start)
        .unwrap();
    let error = engine.start(&bad).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.starts_with("the kernel is truncated"), "{source}");

    let mut bad = good.clone();
    bad.initramfs = Some(directory.path().to_owned());
    assert!(matches!(
        engine.start(&bad).await,
        Err(StartError::Initramfs { .. })
    ));

    let mut bad = good.clone();
    for memory in [0, (64 << 20) + 1, 1 << 50] {
        bad.memory_bytes = memory;
        assert!(matches!(
            engine.start(&bad).await,
            Err(StartError::Memory { .. })
        ));
    }

    let mut bad = good.clone();
    bad.vcpus = std::num::NonZeroU32::new(4096).unwrap();
    assert!(matches!(
        engine.start(&bad).await,
        Err(StartError::Vcpus { .. })
    ));

    let mut bad = good.clone();
    let missing = directory.path().join("none");
    let missing = Disk::read_only(DiskRole::Volume(3), &missing, 512);
    bad.devices.push(Device::Disk(missing));
    let error = engine.start(&bad).await.unwrap_err();
    assert!(matches!(&error, StartError::Device(_)));
    assert_eq!(error.to_string(), "cannot attach the disk `volume-3`");

    // A kernel that passes for one until the VMM looks closer.
    let mut bad = good;
    bad.kernel = directory.path().join("elf");
    let mut elf = vec![0u8; 120];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    (elf[18], elf[32], elf[54], elf[56]) = (62, 64, 56, 1);
    std::fs::write(&bad.kernel, elf).unwrap();
    let error = engine.start(&bad).await.unwrap_err();
    assert!(matches!(error, StartError::Died(_)), "{error:?}");
}

#[tokio::test]
async fn memory_that_the_guest_frees_returns_to_the_host() {
    let engine = engine().await;
    let mut spec = spec(&engine, vec![]);
    spec.memory_bytes = 1 << 30;
    let mut guest = Guest::boot(&engine, &spec).await;
    support::expect_memory_to_return(&mut guest, 512).await;
}

#[tokio::test]
async fn disks_are_exchanged_under_a_guest_that_has_them_closed() {
    let directory = tempfile::tempdir().unwrap();
    let upper = |name: &str| {
        let path = file(directory.path(), name, name.as_bytes()[0], 1 << 20);
        Disk::writable(DiskRole::Upper, &path, 1 << 20)
    };
    let image = |fill: u8| {
        let path = file(directory.path(), &format!("image-{fill}"), fill, 4096);
        let mut disk = Disk::read_only(DiskRole::Root, &path, 4096);
        disk.size = 256 << 30;
        disk
    };
    let engine = engine().await;
    let first = vec![image(b'z'), upper("z")];
    let mut guest = Guest::boot(&engine, &spec(&engine, first)).await;
    let descriptors = |vmm: u32| -> Vec<PathBuf> {
        let open = std::fs::read_dir(format!("/proc/{vmm}/fd")).unwrap();
        let mut files: Vec<_> = open
            .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
            .collect();
        files.sort();
        files
    };
    let before = descriptors(guest.vm.pid()).len();
    for (fill, name) in [("i", "a"), ("j", "b"), ("i", "a")] {
        let disks = [image(fill.as_bytes()[0]), upper(name)];
        guest.vm.exchange_disks(&disks).await.unwrap();
        guest.vm.close_exchanged_disks().await.unwrap();
        assert_eq!(guest.ask("read root 7").await, fill.repeat(16));
        assert_eq!(guest.ask("read root 8").await, ".".repeat(16));
        assert_eq!(guest.ask("read upper 3").await, name.repeat(16));
        assert_eq!(guest.ask("write upper 3").await, "0");
        assert!(guest.ask("write root 3").await.starts_with('-'));
        let written = std::fs::read(directory.path().join(name)).unwrap();
        assert_eq!(&written[3 * 512..][..4], b"WWWW");
    }
    // What is not used any more is closed.
    let after = descriptors(guest.vm.pid());
    assert_eq!(after.len(), before, "{after:?}");
    let other = Disk::empty(DiskRole::Volume(0), 512, true);
    let error = guest.vm.exchange_disks([&other]).await.unwrap_err();
    assert_eq!(error.to_string(), "the machine has no disk `volume-0`");
    guest.vm.kill().unwrap();
}

#[tokio::test]
async fn a_console_can_be_recorded_from_now_on() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine().await;
    let mut guest = Guest::boot(&engine, &spec(&engine, Vec::new())).await;
    let console = directory.path().join("console.log");
    guest.vm.record_console(&console).unwrap();
    guest.send("panic").await;
    guest.vm.wait().await.unwrap();
    let text = std::fs::read_to_string(console).unwrap();
    assert!(text.contains("Kernel panic"), "{text}");
}
