//! Figures: our network against QEMU's user network (slirp) and passt, by turns, in one machine that has a NIC on each; and a
//! published port against the direct path. By hand, as root, on a quiet machine:
//!
//!     cargo test --workspace --test figures -- --ignored --nocapture
//!
//! `PASST` names another passt, `ROUNDS` says how often; with `WHO=user` the network is an ordinary user's. It needs the guest's kernel (`make kernel`), a C compiler and busybox.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod world;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use container_api::network::{AllocateRequest, AttachRequest, Port, Protocol};
use world::namespace::Namespace;
use world::{As, HOST, SERVER, World};

/// A program that ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Mbit/s or microseconds, by whose they are and what they are.
type Samples = BTreeMap<(String, String), Vec<f64>>;

fn start(namespace: &Namespace, command: &mut Command) -> Running {
    Running(namespace.run(|| command.spawn().unwrap()))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// The median of what `one` and `other` make of each other, round by round.
fn ratio(samples: &Samples, what: &str, one: &str, other: &str) -> f64 {
    let of = |who: &str| &samples[&(who.to_owned(), what.to_owned())];
    let pairs = of(one).iter().zip(of(other));
    median(&pairs.map(|(one, other)| one / other).collect::<Vec<_>>())
}

/// Builds the guest's program, and its initramfs for machines with these NICs.
fn build(scratch: &Path, nics: &[String], rounds: u32) -> (PathBuf, PathBuf) {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/figures");
    let (guest, initramfs) = (scratch.join("guest"), scratch.join("initramfs"));
    let tree = scratch.join("tree/bin");
    std::fs::create_dir_all(&tree).unwrap();
    let setup = format!("rounds={rounds}\nways='ours slirp passt'\nserver={SERVER}\n");
    std::fs::write(scratch.join("tree/setup"), setup).unwrap();
    std::fs::write(scratch.join("tree/nics"), nics.join("\n") + "\n").unwrap();
    let script = format!(
        "cc -static -O2 -Wall -Wextra -o {guest} {sources}/guest.c && cp {guest} /bin/busybox {tree} &&
         install -m 755 {sources}/init {scratch}/tree/init && cd {scratch}/tree &&
         find . -mindepth 1 | cpio --quiet -o -H newc >{initramfs}",
        guest = guest.display(),
        sources = sources.display(),
        tree = tree.display(),
        scratch = scratch.display(),
        initramfs = initramfs.display(),
    );
    let built = Command::new("sh").args(["-ec", &script]).status();
    assert!(built.unwrap().success());
    (guest, initramfs)
}

/// The machine, with the network's tap and the two peers.
fn machine(world: &World, initramfs: &Path, tap: OwnedFd, mac: &str) -> (Running, ChildStdout) {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let line = info
        .lines()
        .find(|line| line.starts_with("cpu MHz"))
        .unwrap();
    let mhz: f64 = line.split(':').nth(1).unwrap().trim().parse().unwrap();
    let kernel = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/kernel/vmlinux");
    let passt = world.scratch.path().join("passt.sock");
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-machine",
        ])
        .arg("microvm,acpi=off,isa-serial=off,x-option-roms=off,pit=on,pic=on,rtc=on")
        .args([
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max,-svm",
            "-smp",
            "1",
            "-m",
            "256M",
        ])
        .args(["-global", "virtio-mmio.force-legacy=false", "-kernel"])
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .arg("-append")
        .arg(format!(
            "console=hvc0 reboot=t panic=-1 tsc_early_khz={:.0} tsc=reliable no_timer_check quiet",
            mhz * 1000.0
        ))
        .args([
            "-device",
            "virtio-serial-device,max_ports=1",
            "-chardev",
            "stdio,id=console",
        ])
        .args(["-device", "virtconsole,chardev=console"])
        .args(["-netdev", "tap,id=ours,fd=3,vhost=off", "-device"])
        .arg(format!("virtio-net-device,netdev=ours,mac={mac}"))
        .args(["-netdev", "user,id=slirp,ipv6=off", "-device"])
        .arg("virtio-net-device,netdev=slirp,mac=52:54:00:00:00:02")
        .arg("-netdev")
        .arg(format!(
            "stream,id=passt,server=off,addr.type=unix,addr.path={}",
            passt.display()
        ))
        .args([
            "-device",
            "virtio-net-device,netdev=passt,mac=52:54:00:00:00:03",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mapping = FdMapping {
        parent_fd: tap,
        child_fd: 3,
    };
    command.fd_mappings(vec![mapping]).unwrap();
    let mut running = start(&world.host, &mut command);
    let output = running.0.stdout.take().unwrap();
    (running, output)
}

fn passt(world: &World) -> Running {
    let socket = world.scratch.path().join("passt.sock");
    let program = std::env::var("PASST").unwrap_or_else(|_| "passt".to_owned());
    let mut command = Command::new(program);
    command
        .args([
            "-f", "-q", "--runas", "0", "-4", "-a", "10.9.0.2", "-n", "24", "-g", "10.9.0.1",
        ])
        .args([
            "--no-map-gw",
            "-t",
            "none",
            "-u",
            "none",
            "-m",
            "1500",
            "-s",
        ])
        .arg(&socket);
    let running = start(&world.host, &mut command);
    let begun = std::time::Instant::now();
    while !socket.exists() {
        assert!(begun.elapsed() < world::PATIENCE, "passt does not start");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    running
}

#[test]
#[ignore = "takes two minutes, and wants a quiet machine"]
fn ours_against_slirp_and_passt() {
    let rounds = std::env::var("ROUNDS").map_or(5, |rounds| rounds.parse().unwrap());
    let is_user = std::env::var("WHO").is_ok_and(|who| who == "user");
    let world = World::of(if is_user { As::User } else { As::Root });
    let network = world.network("one", |_| ());
    let container = AllocateRequest {
        container: "web".into(),
        ..AllocateRequest::default()
    };
    let addresses = network.allocate(container).unwrap();
    let port = Port {
        host_port: 8080,
        container_port: 80,
        protocol: Protocol::Tcp.into(),
        ..Port::default()
    };
    let request = AttachRequest {
        container: "web".into(),
        ports: vec![port],
        ..AttachRequest::default()
    };
    let (_, tap) = network.attach(request).unwrap();
    let nics = [
        format!(
            "ours {} {} {}",
            addresses.mac, addresses.ipv4, addresses.gateway
        ),
        "slirp 52:54:00:00:00:02 10.0.2.15/24 10.0.2.2".to_owned(),
        "passt 52:54:00:00:00:03 10.9.0.2/24 10.9.0.1".to_owned(),
    ];
    let (guest, initramfs) = build(world.scratch.path(), &nics, rounds);
    let _servers = [["serve", "5001"], ["echo", "5002"]]
        .map(|arguments| start(&world.outside, Command::new(&guest).args(arguments)));
    let _passt = passt(&world);
    let (_machine, output) = machine(&world, &initramfs, tap, &addresses.mac);

    let mut samples = Samples::new();
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["RESULT", who, what, value] => {
                let key = ((*who).to_owned(), (*what).to_owned());
                samples.entry(key).or_default().push(value.parse().unwrap());
            }
            ["SERVING"] => break,
            _ => {}
        }
    }
    let ipv4 = addresses.ipv4.split('/').next().unwrap();
    // A user's port takes connections when the container was asked whether it listens.
    let first = format!("{} stream {HOST} 8080 1", guest.display());
    let begun = std::time::Instant::now();
    while !world.outside.try_sh(&first).1 {
        assert!(begun.elapsed() < world::PATIENCE, "the port is not open");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    for _ in 0..rounds {
        for (who, to, port) in [("published", HOST, "8080"), ("direct", ipv4, "80")] {
            let line = format!("{} stream {to} {port} 2", guest.display());
            let value = match (who, is_user) {
                ("published", _) => world.outside.sh(&line),
                (_, false) => world.host.sh(&line),
                // The host does not reach a user's network.
                (_, true) => network.sh(&line),
            };
            let value = value.trim().parse().unwrap();
            let key = (who.to_owned(), "stream".to_owned());
            samples.entry(key).or_default().push(value);
        }
    }
    for ((who, what), values) in &samples {
        eprintln!("{who:10} {what:8} {:8.0}  {values:?}", median(values));
    }
    for (what, one, other) in [
        ("stream", "ours", "slirp"),
        ("stream", "ours", "passt"),
        ("ask", "ours", "slirp"),
        ("ask", "ours", "passt"),
        ("stream", "published", "direct"),
    ] {
        eprintln!(
            "{what} {one} / {other}: {:.2}",
            ratio(&samples, what, one, other)
        );
    }
}
