//! A guest for tests: the workspace's kernel with `guest.c` as its only program.

use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use container_engine::{Accelerator, Device, Disk, Engine, Vm, VmSpec, vhost};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::cpio;

/// Longest wait for anything that a guest does, on a busy host without KVM.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// By which the kernel carries packets, where this host has it: that with `CONTAINER_TEST_VHOST` must.
pub fn vhost(engine: &Engine) -> Option<Arc<OwnedFd>> {
    let path = Path::new(vhost::PATH);
    let opened = (engine.accelerator() == Accelerator::Kvm).then(|| vhost::open(path));
    let opened = opened.and_then(Result::ok).map(Arc::new);
    assert!(std::env::var_os("CONTAINER_TEST_VHOST").is_none() || opened.is_some());
    opened
}

/// The kernel under test: `CONTAINER_TEST_KERNEL`, or the one that `make kernel` builds.
pub fn kernel() -> PathBuf {
    std::env::var_os("CONTAINER_TEST_KERNEL").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/kernel/vmlinux"),
        PathBuf::from,
    )
}

/// The guest's initial RAM file system: `CONTAINER_TEST_INITRAMFS`, or built once per test run.
pub fn initramfs() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(given) = std::env::var_os("CONTAINER_TEST_INITRAMFS") {
            return given.into();
        }
        let name = std::process::id().to_string();
        let mut directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
        // The nested machine only reads it.
        if std::fs::create_dir_all(&directory).is_err() {
            directory = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&directory).unwrap();
        }
        let program = directory.join("init");
        let flags = [
            "-static",
            "-nostdlib",
            "-ffreestanding",
            "-fno-stack-protector",
            "-O1",
            "-s",
        ];
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/guest.c");
        let status = Command::new("cc")
            .args(flags)
            .arg("-o")
            .arg(&program)
            .arg(source)
            .status();
        assert!(status.unwrap().success());
        let archive = directory.join("initramfs");
        let mut bytes = Vec::new();
        cpio::add(&mut bytes, "dev", 0o040_755, 0, &[]);
        // /dev/console, character device 5:1: what the kernel gives the first process.
        cpio::add(&mut bytes, "dev/console", 0o020_600, 0x0005_0001, &[]);
        cpio::add(
            &mut bytes,
            "init",
            0o100_755,
            0,
            &std::fs::read(&program).unwrap(),
        );
        cpio::add(&mut bytes, "TRAILER!!!", 0, 0, &[]);
        std::fs::write(&archive, bytes).unwrap();
        archive
    })
}

pub async fn engine() -> Engine {
    Engine::open(Path::new(env!("CARGO_TARGET_TMPDIR")))
        .await
        .unwrap()
}

/// A small machine with these disks.
pub fn spec(engine: &Engine, disks: Vec<Disk>) -> VmSpec {
    let mut devices = vec![
        Device::GuestChannel {
            name: "container.guest".to_owned(),
        },
        Device::Console { record: None },
        Device::Balloon,
        Device::Entropy,
    ];
    devices.extend(disks.into_iter().map(Device::Disk));
    VmSpec {
        kernel: kernel(),
        initramfs: Some(initramfs().to_owned()),
        // As vminitd sets it: pages in a vCPU's free lists are not given back.
        command_line: "sysctl.vm.percpu_pagelist_high_fraction=256".to_owned(),
        vcpus: NonZeroU32::MIN,
        memory_bytes: 256 << 20,
        devices,
        accelerator: engine.accelerator(),
        firmware_tables: false,
        nested_virtualization: false,
    }
}

/// A guest that has said "ready".
pub struct Guest {
    pub vm: Vm,
    channel: BufReader<UnixStream>,
}

impl Guest {
    pub async fn boot(engine: &Engine, spec: &VmSpec) -> Self {
        let mut guest = Self::attach(engine.start(spec).await.unwrap());
        assert_eq!(guest.line().await, "ready");
        guest
    }

    pub fn attach(mut vm: Vm) -> Self {
        let channel = BufReader::new(vm.take_channel().unwrap());
        Self { vm, channel }
    }

    pub async fn send(&mut self, command: &str) {
        self.channel
            .write_all(format!("{command}\n").as_bytes())
            .await
            .unwrap();
    }

    pub async fn ask(&mut self, command: &str) -> String {
        self.send(command).await;
        self.line().await
    }

    pub async fn line(&mut self) -> String {
        let mut line = String::new();
        tokio::select! {
            read = tokio::time::timeout(PATIENCE, self.channel.read_line(&mut line)) => {
                read.expect("the guest is silent").unwrap();
            }
            exit = self.vm.wait() => panic!("{:?}", exit.unwrap()),
        }
        line.trim_end().to_owned()
    }
}

/// Lets the guest dirty, then free `mib` of memory: nine tenths must leave the host within 30 s.
pub async fn expect_memory_to_return(guest: &mut Guest, mib: u64) {
    let size = mib << 20;
    let before = guest.vm.host_memory().unwrap();
    assert_eq!(guest.ask(&format!("touch {mib}")).await, "done");
    let peak = guest.vm.host_memory().unwrap();
    assert!(peak > before + size / 2, "{before} bytes, then {peak}");
    assert_eq!(guest.ask("free").await, "done");
    let start = Instant::now();
    loop {
        let now = guest.vm.host_memory().unwrap();
        if now + size * 9 / 10 <= peak {
            let [before, peak, now] = [before, peak, now].map(|bytes| bytes >> 20);
            let after = start.elapsed();
            eprintln!("memory: {before} MiB, {peak} MiB, {now} MiB after {after:?}");
            return;
        }
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{now} bytes of {peak} remain"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
